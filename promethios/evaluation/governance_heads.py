"""The scores beside the decision: confidence, six uncertainty dimensions, six bias categories, need of a tool.

Each is a probability (sigmoid of its raw score) and the dataset holds its target in [0, 1]. They are reported, not
gated: what a request is decided on is the decision.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from promethios.data.example import Example
from promethios.evaluation.hitl_accuracy import auroc
from promethios.evaluation.intervals import Estimate, FloatArray, Resamples
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.header import DECISIONS


def head_measures(
    scores: FloatArray, examples: Sequence[Example], resamples: Resamples
) -> dict[str, dict[str, Estimate]]:
    """Return for each head the mean absolute error and the AUROC against "target at least one half".

    scores: raw, [n, 18]. A head whose targets all lie on one side has no AUROC (NaN).
    """
    probabilities = 0.5 * (1.0 + np.tanh(0.5 * scores[:, len(DECISIONS) :].astype(np.float64)))
    targets = np.array([[e.confidence, *e.uncertainty, *e.bias, e.tool] for e in examples], np.float64)
    return {
        name: {
            "auroc": resamples.estimate(auroc(probability, target >= 0.5, resamples)),
            "mean_absolute_error": resamples.estimate(resamples.mean(np.abs(probability - target))),
        }
        for name, probability, target in zip(_names(), probabilities.T, targets.T, strict=True)
    }


def _names() -> list[str]:
    ontology = load_ontology()
    uncertainty = [f"uncertainty: {dimension.id}" for dimension in ontology.uncertainty_dimensions]
    bias = [f"bias: {category.id}" for category in ontology.bias_categories]
    return ["confidence", *uncertainty, *bias, "tool"]
