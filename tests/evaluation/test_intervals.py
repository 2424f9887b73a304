from __future__ import annotations

import math

import numpy as np
import pytest

from promethios.errors import DatasetError
from promethios.evaluation.intervals import Estimate, Resamples, wilson_interval, wilson_lower


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_equals_published_values(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_without_trials_says_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_lower(0, 0) == 0.0


def test_one_sided_bound_at_97_5_percent_is_the_two_sided_lower_end() -> None:
    assert float(wilson_lower(81, 263, confidence=0.975)) == pytest.approx(wilson_interval(81, 263)[0])


def test_wilson_lower_is_vectorised() -> None:
    bounds = wilson_lower([9, 90, 0], [10, 100, 0])
    assert bounds[0] < bounds[1] < 0.9
    assert bounds[2] == 0.0


def test_bootstrap_of_independent_items_agrees_with_wilson() -> None:
    outcomes = np.array([1.0] * 170 + [0.0] * 30)
    resamples = Resamples([f"family {i}" for i in range(200)], seed=1)
    estimate = resamples.estimate(resamples.mean(outcomes))
    assert estimate.value == pytest.approx(0.85)
    assert (estimate.low, estimate.high) == pytest.approx(wilson_interval(170, 200), abs=0.012)


def test_items_of_one_family_count_as_one_piece_of_evidence() -> None:
    outcomes = np.repeat([1.0, 0.0], 200)
    alone = Resamples([f"family {i}" for i in range(400)])
    clustered = Resamples([f"family {i // 40}" for i in range(400)])
    narrow, wide = alone.estimate(alone.mean(outcomes)), clustered.estimate(clustered.mean(outcomes))
    assert wide.high - wide.low > 4 * (narrow.high - narrow.low)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    families = [f"family {i // 10}" for i in range(600)]
    covered = 0
    for trial in range(200):
        level = np.repeat(np.clip(rng.normal(0.7, 0.15, 60), 0.0, 1.0), 10)
        resamples = Resamples(families, num=500, seed=trial)
        estimate = resamples.estimate(resamples.mean(rng.random(600) < level))
        covered += estimate.low <= 0.6967 <= estimate.high  # mean of the clipped normal
    assert 0.90 <= covered / 200 <= 0.98


def test_rows_are_sums_over_the_families_drawn() -> None:
    families = ["a", "a", "b", "c"]
    values = np.array([1.0, 2.0, 10.0, 100.0])
    resamples = Resamples(families, num=50)
    expected = resamples.counts @ np.array([3.0, 10.0, 100.0])
    np.testing.assert_allclose(resamples.sum(values), expected)
    assert (resamples.counts[0] == 1.0).all()
    assert (resamples.counts[1:].sum(axis=1) == 3.0).all()


def test_same_seed_gives_the_same_resamples() -> None:
    families = [f"family {i % 7}" for i in range(30)]
    np.testing.assert_array_equal(Resamples(families, seed=5).counts, Resamples(families, seed=5).counts)
    assert (Resamples(families, seed=5).counts != Resamples(families, seed=6).counts).any()


def test_one_family_is_refused() -> None:
    with pytest.raises(DatasetError, match="one scenario family cannot give a confidence interval"):
        Resamples(["healthcare/dosage"] * 5)


def test_an_interval_holds_its_value_even_when_every_resample_lies_above() -> None:
    estimate = Resamples(["a", "b"], num=3).estimate(np.array([0.1, 0.2, 0.3, 0.2]))
    assert estimate.low == 0.1


def test_what_the_data_do_not_define_is_null_in_json() -> None:
    resamples = Resamples(["a", "b"], num=10)
    estimate = resamples.estimate(resamples.mean(np.ones(2), np.zeros(2, bool)))
    assert math.isnan(estimate.value)
    assert estimate.to_json() == {"value": None, "low": None, "high": None}
    assert Estimate(0.5, 0.25, 0.75).to_json() == {"value": 0.5, "low": 0.25, "high": 0.75}
