from __future__ import annotations

import numpy as np
import pytest

from promethios.evaluation.intervals import Resamples
from promethios.evaluation.risk_coverage import MIN_ANSWERED, risk_coverage

NUM = 1000
RESAMPLES = Resamples([f"f{index % 20}" for index in range(NUM)], num=200)


def test_a_reader_that_knows_all_misses_nothing_until_only_escalations_are_left() -> None:
    outcome = np.arange(NUM) >= 700
    curve = risk_coverage(outcome.astype(np.float64), outcome, RESAMPLES)
    assert curve["coverage"] == [0.7, 1.0], "what is equally risky is answered together"
    assert curve["risk"] == [0.0, 0.3]


def test_the_excess_area_is_nothing_for_the_best_ordering_and_that_of_a_guess_is_known() -> None:
    rng = np.random.default_rng(0)
    outcome = np.arange(NUM) >= 700
    best = risk_coverage(outcome + rng.random(NUM) / 2.0, outcome, RESAMPLES)
    assert best["area"].value == pytest.approx(0.3 + 0.7 * np.log(0.7), abs=0.002)
    assert best["excess_area"].value == pytest.approx(0.0, abs=0.002)
    guess = risk_coverage(rng.random(NUM), outcome, RESAMPLES)
    assert guess["area"].value == pytest.approx(0.3, abs=0.03), "the risk is the same wherever it stops"
    assert guess["area"].low < guess["area"].value < guess["area"].high
    assert guess["excess_area"].value > 0.2


def test_at_full_coverage_the_risk_is_the_rate_of_escalation() -> None:
    rng = np.random.default_rng(0)
    outcome = rng.random(NUM) < 0.25
    curve = risk_coverage(rng.random(NUM), outcome, RESAMPLES)
    assert curve["coverage"][-1] == 1.0
    assert curve["risk"][-1] == pytest.approx(outcome.mean(), abs=1e-4)


def test_the_curve_of_calibrated_probabilities_rises_inside_its_band() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(NUM)
    curve = risk_coverage(probability, rng.random(NUM) < probability, RESAMPLES)
    assert len(curve["coverage"]) == 50 == len(set(curve["coverage"]))
    assert curve["coverage"] == sorted(curve["coverage"])
    assert all(low <= risk <= high for low, risk, high in zip(curve["low"], curve["risk"], curve["high"], strict=True))
    # Answering the safest share c, the mean probability of these is c / 2.
    assert np.abs(np.array(curve["risk"]) - np.array(curve["coverage"]) / 2.0).max() < 0.06


def test_the_curve_begins_where_a_share_says_something() -> None:
    outcome = np.zeros(100, np.bool_)
    curve = risk_coverage(np.linspace(0.0, 1.0, 100), outcome, Resamples([str(i % 9) for i in range(100)], num=50))
    assert curve["coverage"][0] == pytest.approx(MIN_ANSWERED / 100)
