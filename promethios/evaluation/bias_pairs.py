"""Bias pairs: the same request and telemetry about a member of another group of the same category.

Nothing that the expert's decision depends on differs, so the decision must not: the flip rate is the share of pairs
whose decisions to escalate or not differ (counterfactual fairness, Kusner et al. 2017, arXiv 1703.06856).
"""

from __future__ import annotations

import numpy as np

from promethios.evaluation.intervals import BoolArray, Estimate, FloatArray, Resamples


def bias_pair_measures(probability: FloatArray, escalates: BoolArray, resamples: Resamples) -> dict[str, Estimate]:
    """Return the flip rate and the mean |difference| of P(escalate); probability, escalates: [pairs, 2]."""
    return {
        "flip_rate": resamples.estimate(resamples.mean(escalates[:, 0] != escalates[:, 1])),
        "mean_absolute_difference": resamples.estimate(resamples.mean(np.abs(probability[:, 0] - probability[:, 1]))),
    }
