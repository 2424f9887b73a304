"""The risk-coverage curve: how often are answers wrong, as more of the requests are answered?

    coverage   share of the requests that are answered without a person, the least risky first
    risk       share of those answered that the expert took (the selective risk of El-Yaniv & Wiener 2010, JMLR 11)
    area       under the curve (AURC): the mean risk over all coverages, one number for the whole ordering
    excess     the area minus that of the best ordering there is at the same rate of escalation, so that 0 is perfect
               (E-AURC; Geifman, Uziel & El-Yaniv 2019, arXiv 1805.08206)

Requests are ordered as the deployed rule takes them: by the lowest threshold that would answer them, which is twice
P(escalate) under degraded telemetry. A system that knows what it does not know has a curve that stays low and rises
late; at coverage 1 all curves meet at the expert's rate of escalation.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from promethios.evaluation.certificate_fit import needed_threshold
from promethios.evaluation.decisions import System
from promethios.evaluation.evaluated_set import EvaluatedSet
from promethios.evaluation.intervals import BoolArray, FloatArray, Resamples, ratio

MIN_ANSWERED: Final = 20
"""The curve begins where at least this many requests are answered: a share of fewer says nothing."""

_POINTS: Final = 50
_DIGITS: Final = 4


def risk_coverage_curves(evaluated: EvaluatedSet) -> list[dict[str, Any]]:
    """Return the curves of the model, the best baseline, other language models and the ceiling, as plain data."""
    others = [system for system in evaluated.baselines.values() if system.kind != "baseline"]
    systems: list[System] = [evaluated.model, evaluated.best_baseline, *others]
    return [
        {
            "key": system.key,
            "title": system.title,
            "kind": system.kind,
            **risk_coverage(
                needed_threshold(system.probability, evaluated.degraded), evaluated.outcome, evaluated.resamples
            ),
        }
        for system in systems
    ]


def risk_coverage(needed: FloatArray, outcome: BoolArray, resamples: Resamples) -> dict[str, Any]:
    """Return at most 50 points of the curve by rising coverage: `coverage`, `risk`, and `low` and `high` of its band.

    Beside them `area` and `excess_area`, estimates, from the same points: the curve is taken as flat before the first.

    needed: the lowest threshold that answers each item [n]; items with the same one are answered together.
    outcome: whether the expert took it [n].
    """
    ordered = np.sort(needed)
    ends = np.ceil(np.arange(1, _POINTS + 1) / _POINTS * len(ordered)).astype(np.int64)
    answered = needed[:, None] <= np.unique(ordered[ends - 1])
    answered = answered[:, answered.sum(axis=0) >= min(MIN_ANSWERED, len(needed))]
    num_answered = resamples.sum(answered)
    risks = ratio(resamples.sum(answered & outcome[:, None]), num_answered)
    area = _area(num_answered / num_answered[:, -1:], risks)
    points = [resamples.estimate(column) for column in risks.T]
    return {
        "coverage": [round(float(share), _DIGITS) for share in answered.mean(axis=0)],
        "risk": [round(point.value, _DIGITS) for point in points],
        "low": [round(point.low, _DIGITS) for point in points],
        "high": [round(point.high, _DIGITS) for point in points],
        "area": resamples.estimate(area),
        "excess_area": resamples.estimate(area - _least_area(risks[:, -1])),
    }


def _area(coverage: FloatArray, risk: FloatArray) -> FloatArray:
    """Return the area under each row's curve [r, points]: trapezia, and a flat piece before the first point."""
    trapezia = np.diff(coverage, axis=1) * (risk[:, 1:] + risk[:, :-1]) / 2.0
    return np.asarray(coverage[:, 0] * risk[:, 0] + trapezia.sum(axis=1))


def _least_area(rate: FloatArray) -> FloatArray:
    """Return the area when everything that the expert took comes last; rate: the share that the expert took."""
    kept = np.maximum(1.0 - rate, np.finfo(np.float64).tiny)
    return np.asarray(rate + (1.0 - rate) * np.log(kept))
