"""Finds the certified thresholds: Learn-then-Test with a fixed sequence and exact binomial bounds.

The deployed rule at threshold t answers when P(escalate) < t, or < t / 2 under degraded telemetry. On n examples the
misses of that rule (answered, and the expert took the request) are a binomial number. For each t of a grid fixed in
advance, from the most careful on, "the risk at t exceeds the limit" is rejected when the exact upper bound of Clopper &
Pearson (1934) does not exceed the limit. The first t that is not rejected ends the search; the one before it is
certified. Testing in a fixed order up to the first failure needs no correction for the many thresholds (Angelopoulos,
Bates, Candes, Jordan & Lei, "Learn then Test", 2021, arXiv 2110.01052): with the given confidence the certified risk
is within the limit, in this domain, on requests like these.

The examples must have had no part in the calibration: `recalibration` keeps the two apart.

Beside it stands the threshold of conformal risk control (arXiv 2208.02814), which bounds the mean of the risk over
calibration samples and not the risk after this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from promethios.data.example import Example
from promethios.evaluation.certificate import DomainCertificate
from promethios.evaluation.decisions import degraded_of
from promethios.evaluation.intervals import CONFIDENCE, BoolArray, FloatArray, clopper_pearson_upper
from promethios.ontology.decision import DEGRADED_THRESHOLD_FACTOR

GRID_STEP: Final = 0.005
"""Distance of two thresholds that are tested; finer ones would differ in hardly an example."""


def certify(
    probability: FloatArray,
    outcome: BoolArray,
    degraded: BoolArray,
    *,
    risk_limit: float,
    most: float,
    confidence: float = CONFIDENCE,
) -> DomainCertificate:
    """Certify one domain's rule, or any group's, on n examples that the calibration never saw.

    probability: of escalation, calibrated [n]. outcome: whether the expert escalated [n]. degraded: whose telemetry
    is degraded [n]. most: the threshold of cost: the deployed one is never above it, so none above it is tested.
    """
    grid = threshold_grid(most)
    needed = needed_threshold(probability, degraded)
    missed = np.searchsorted(np.sort(needed[outcome]), grid, side="left")  # needed < threshold
    num = len(probability)
    bounds = clopper_pearson_upper(missed, num, confidence=confidence)
    certified = _last_of_the_run(bounds <= risk_limit)
    controlled = _last_of_the_run((missed + 1) / (num + 1) <= risk_limit)
    num_answered = 0 if certified is None else int((needed < grid[certified]).sum())
    return DomainCertificate(
        risk_limit=risk_limit,
        threshold=0.0 if certified is None else float(grid[certified]),
        num_examples=num,
        num_answered=num_answered,
        num_missed=0 if certified is None else int(missed[certified]),
        # A rule that answers nothing misses nothing.
        risk_upper_bound=0.0 if certified is None else float(bounds[certified]),
        auto_answered_share=num_answered / num if num else 0.0,
        crc_threshold=0.0 if controlled is None else float(grid[controlled]),
    )


@dataclass(frozen=True)
class CertificationSample:
    """What certificates are made from, [n] each: the expert's outcome, degraded telemetry, the domain stated."""

    outcome: BoolArray
    degraded: BoolArray
    domains: list[str | None]

    @classmethod
    def of(cls, examples: Sequence[Example]) -> CertificationSample:
        """Take them from examples."""
        outcome = np.array([example.truth for example in examples], np.bool_)
        return cls(outcome, degraded_of(examples), [example.header_domain for example in examples])


def certify_domains(
    probability: FloatArray,
    sample: CertificationSample,
    *,
    thresholds: Mapping[str, float],
    risk_limits: Mapping[str, float],
    confidence: float = CONFIDENCE,
) -> dict[str, DomainCertificate]:
    """Certify every domain that a sample states; arguments as for `certify`.

    thresholds: of cost, and risk_limits: for at least every domain that is stated.
    """
    stated = sorted({domain for domain in sample.domains if domain is not None})
    members = {name: np.array([domain == name for domain in sample.domains]) for name in stated}
    return {
        domain: certify(
            probability[of_domain],
            sample.outcome[of_domain],
            sample.degraded[of_domain],
            risk_limit=risk_limits[domain],
            most=thresholds[domain],
            confidence=confidence,
        )
        for domain, of_domain in members.items()
    }


def needed_threshold(probability: FloatArray, degraded: BoolArray) -> FloatArray:
    """Return the threshold above which the deployed rule answers each item [n], of P(escalate) [n].

    Half the threshold for p, under degraded telemetry, is the whole threshold for 2 p: one number says it for both.
    """
    return np.where(degraded, probability / DEGRADED_THRESHOLD_FACTOR, probability)


def threshold_grid(most: float) -> FloatArray:
    """Return the thresholds that are tested, the most careful first; the last one is `most` itself."""
    steps = np.arange(1, round(1.0 / GRID_STEP)) * GRID_STEP
    return np.append(steps[steps < most - 1e-9], most)


def _last_of_the_run(holds: BoolArray) -> int | None:
    """Return the index of the last True before the first False; None when the first one is False."""
    length = len(holds) if holds.all() else int(np.argmin(holds))
    return length - 1 if length else None
