"""Governance telemetry: its channels, its text form and its token form."""
