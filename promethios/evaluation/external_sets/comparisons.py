"""The simpler systems that an own test set is compared with: those without training data always, the others on request.

A dataset folder (`promethios generate`) gives the trained ones: they learn from its training split, as the model did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from promethios.data.chat_endpoint import ChatEndpoint
from promethios.data.example import Example, read_examples
from promethios.data.folder import dataset_sha256, split_path, verify_dataset
from promethios.evaluation.baselines import fit_baselines, minimum_margin, read_contrasts, trust_margin
from promethios.evaluation.calibration import Calibration
from promethios.evaluation.chat_baseline import ChatBaseline
from promethios.evaluation.decisions import Baseline
from promethios.evaluation.intervals import FloatArray
from promethios.evaluation.recalibration import CalibrationExamples


def comparisons(
    data_dir: Path, examples: Sequence[Example], calibration: Calibration, endpoint: ChatEndpoint | None
) -> tuple[list[Baseline], list[str]]:
    """Return the systems that can be had, and notes for the report.

    The generator's posterior, the ceiling, joins where every example has a `soft_label`; a language model where an
    endpoint is given. Raises DatasetError for a dataset folder that is not whole.
    """
    asked = [ChatBaseline(endpoint).baseline()] if endpoint else []
    if not data_dir.is_dir():
        note = f"No dataset folder at {data_dir}: baselines that learn from data are left out."
        return [*untrained_baselines(), *asked], [note]
    verify_dataset(data_dir)
    fit = CalibrationExamples.divide(read_examples(split_path(data_dir, "calibration"))).fit
    fitted = fit_baselines(read_examples(split_path(data_dir, "train")), fit, read_contrasts(data_dir))
    has_ceiling = all(example.soft_label for example in examples)
    systems = [*fitted[:-1], *asked, *(fitted[-1:] if has_ceiling else [])]
    if dataset_sha256(data_dir) == calibration.dataset_sha256:
        return systems, []
    return systems, [f"The baselines learnt from {data_dir}; the model was calibrated on another dataset."]


def untrained_baselines() -> list[Baseline]:
    """Return the baselines without training data; a rule that lacks its reading escalates, the careful choice."""
    return [
        Baseline("never", "Never escalate", lambda examples: np.zeros(len(examples))),
        Baseline("always", "Always escalate", lambda examples: np.ones(len(examples))),
        Baseline("trust_rule", "Rule: trust below requirement", _rule(trust_margin)),
        Baseline("minimum_rule", "Rule: lowest channel below 0.4", _rule(minimum_margin)),
    ]


def _rule(margin: Callable[[Example], float | None]) -> Callable[[Sequence[Example]], FloatArray]:
    def predict(examples: Sequence[Example]) -> FloatArray:
        margins = map(margin, examples)
        return np.array([1.0 if value is None else float(value < 0.0) for value in margins])

    return predict
