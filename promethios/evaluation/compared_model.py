"""Another Promethios model to compare with: the same data without the modules, another seed, an older release.

It gets its own calibration, fitted on the examples that the evaluated model's was fitted on, and decides under the same
thresholds of cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from promethios.data.example import Example
from promethios.evaluation.decisions import Baseline
from promethios.evaluation.intervals import FloatArray
from promethios.evaluation.recalibration import CalibrationExamples, calibrated, fitted_calibration
from promethios.model.folder import weights_sha256


def compared_model(name: str, path: Path, calibration: CalibrationExamples, dataset: str) -> Baseline:
    """Load a model folder and calibrate it; `predict` scores with it. dataset: SHA-256 of the dataset."""
    from promethios.model.scoring import LoadedModel, score_examples

    loaded = LoadedModel.load(path)
    on_fit = np.asarray(score_examples(loaded, calibration.fit), np.float64)
    fitted = fitted_calibration(on_fit, calibration.fit, weights_sha256(path), dataset)

    def predict(examples: Sequence[Example]) -> FloatArray:
        return calibrated(np.asarray(score_examples(loaded, examples), np.float64), examples, fitted)

    return Baseline(f"model:{name}", name, predict, kind="compared")
