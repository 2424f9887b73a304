"""Evaluation: measures with intervals, baselines on the same items, calibration, gates, the report.

Importing this package imports nothing heavy: serving loads `promethios.evaluation.calibration` alone.
"""
