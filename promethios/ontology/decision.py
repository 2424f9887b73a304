"""The one decision function: labelling, evaluation and serving all decide here, so they cannot drift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from promethios.telemetry.header import DECISIONS

ESCALATE: Final = DECISIONS.index("escalate")

DEGRADED_THRESHOLD_FACTOR: Final = 0.5
"""With missing or stale telemetry the threshold is halved: it takes half the probability to hand over to a person."""


def cost_threshold(*, review_cost: float, miss_cost: float) -> float:
    """Return the probability above which escalation is the cheaper choice: c_review / (c_review + c_miss).

    The seed's threshold 0.4 says that a missed escalation costs 1.5 times a review. Costs are positive, in any unit.
    """
    return review_cost / (review_cost + miss_cost)


def decide(probabilities: Sequence[float], threshold: float, *, degraded: bool = False) -> str:
    """Return one of DECISIONS.

    probabilities: of answer, caveat, clarify, escalate (calibrated; they sum to 1).
    threshold: escalate from this probability on; a probability that is not a number escalates, too.
    degraded: telemetry is absent or vouches for little (`GovernanceState.is_degraded`). Then the threshold is halved
    and a plain answer becomes one with a caveat: of two requests that the model judges alike, the one without
    dependable telemetry is treated more carefully, never less.
    """
    if degraded:
        threshold *= DEGRADED_THRESHOLD_FACTOR
    if not probabilities[ESCALATE] < threshold:  # so written that NaN, a failed computation, escalates
        return "escalate"
    best = DECISIONS[max(range(ESCALATE), key=lambda i: probabilities[i])]
    return "caveat" if degraded and best == "answer" else best


def more_careful(decision: str, minimum: str | None) -> str:
    """Return the more careful of two decisions, in the order of DECISIONS; `decision` where no minimum is demanded."""
    return decision if minimum is None else max(decision, minimum, key=DECISIONS.index)
