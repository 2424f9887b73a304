from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promethios.ontology.decision import cost_threshold, decide
from promethios.telemetry.header import DECISIONS

PROBABILITIES = (
    st.lists(st.floats(0, 1), min_size=4, max_size=4)
    .filter(any)
    .map(lambda weights: [w / sum(weights) for w in weights])
)
THRESHOLDS = st.floats(0.01, 0.99)


@given(PROBABILITIES, THRESHOLDS, THRESHOLDS, st.booleans())
def test_a_lower_threshold_never_hands_over_less(
    probabilities: list[float], first: float, second: float, degraded: bool
) -> None:
    low, high = sorted((first, second))
    if decide(probabilities, high, degraded=degraded) == "escalate":
        assert decide(probabilities, low, degraded=degraded) == "escalate"


@given(PROBABILITIES, THRESHOLDS)
def test_degraded_telemetry_is_never_less_careful(probabilities: list[float], threshold: float) -> None:
    fresh = decide(probabilities, threshold)
    degraded = decide(probabilities, threshold, degraded=True)
    assert DECISIONS.index(degraded) >= DECISIONS.index(fresh)
    assert degraded != "answer"


@given(PROBABILITIES, THRESHOLDS)
def test_below_the_threshold_the_most_probable_other_decision_is_taken(
    probabilities: list[float], threshold: float
) -> None:
    decision = decide(probabilities, threshold)
    if decision == "escalate":
        assert probabilities[3] >= threshold
    else:
        assert probabilities[3] < threshold
        assert probabilities[DECISIONS.index(decision)] == max(probabilities[:3])


def test_escalation_starts_at_the_threshold_itself() -> None:
    assert decide([0.6, 0.0, 0.0, 0.4], 0.4) == "escalate"
    assert decide([0.61, 0.0, 0.0, 0.39], 0.4) == "answer"


def test_degraded_telemetry_halves_the_threshold() -> None:
    probabilities = [0.8, 0.0, 0.0, 0.2]
    assert decide(probabilities, 0.4) == "answer"
    assert decide(probabilities, 0.4, degraded=True) == "escalate"
    assert decide([0.9, 0.0, 0.0, 0.1], 0.4, degraded=True) == "caveat"


def test_a_probability_that_is_not_a_number_is_escalated() -> None:
    assert decide([float("nan")] * 4, 0.4) == "escalate"


def test_the_seeds_threshold_is_a_miss_that_costs_one_and_a_half_reviews() -> None:
    assert cost_threshold(review_cost=1.0, miss_cost=1.5) == pytest.approx(0.4)


@given(st.floats(0.01, 100), st.floats(0.01, 100), st.floats(1.1, 10))
def test_a_dearer_miss_lowers_the_threshold(review_cost: float, miss_cost: float, factor: float) -> None:
    threshold = cost_threshold(review_cost=review_cost, miss_cost=miss_cost)
    assert 0 < cost_threshold(review_cost=review_cost, miss_cost=miss_cost * factor) < threshold < 1
