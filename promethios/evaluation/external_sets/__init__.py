"""Test sets that somebody else brings: their own JSONL files, or folders of public benchmarks.

Nothing is fitted on them: the model is measured with the calibration and the certificate that it ships with.
"""
