from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from promethios.evaluation.confidence_calibration import (
    bin_index,
    brier_score,
    calibration_measures,
    chance_ece,
    chance_smooth_ece,
    expected_calibration_error,
    log_loss,
    murphy_decomposition,
    smooth_ece,
)
from promethios.evaluation.intervals import BoolArray, FloatArray, Resamples
from promethios.evaluation.reliability import reliability_diagram


def calibrated(num: int, seed: int = 0) -> tuple[FloatArray, BoolArray]:
    rng = np.random.default_rng(seed)
    probability = rng.beta(0.5, 1.0, num)
    return probability, rng.random(num) < probability


def smooth_ece_by_quadrature(probability: FloatArray, outcome: BoolArray) -> float:
    """The definition: integrate |mean of K_s(t, p) (p - y)| over t and solve for the fixed point."""
    grid = np.linspace(0.0, 1.0, 1001)

    def at(width: float) -> float:
        images = [2.0 * k + sign * probability for k in (-1, 0, 1) for sign in (1.0, -1.0)]
        density = sum(np.exp(-0.5 * ((grid[:, None] - image) / width) ** 2) for image in images)
        residual = density @ (probability - outcome) / (width * np.sqrt(2.0 * np.pi) * len(probability))
        return float(np.trapezoid(np.abs(residual), grid))

    low, high = 1e-3, 1.0
    for _ in range(25):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle) > middle else (low, middle)
    return low


@pytest.mark.parametrize("distortion", [0.5, 1.0, 2.5])
def test_smooth_ece_equals_its_definition(distortion: float) -> None:
    probability, outcome = calibrated(400)
    odds = (probability / (1.0 - probability)) ** distortion
    distorted = odds / (1.0 + odds)
    fast = smooth_ece(distorted, outcome, Resamples.none(400))[0]
    assert fast == pytest.approx(smooth_ece_by_quadrature(distorted, outcome), abs=0.002)


def test_calibrated_probabilities_have_a_small_error() -> None:
    probability, outcome = calibrated(20_000)
    resamples = Resamples.none(len(outcome))
    assert smooth_ece(probability, outcome, resamples)[0] < 0.015
    assert expected_calibration_error(probability, outcome, resamples)[0] < 0.015


def test_the_brier_score_of_bins_is_reliability_minus_resolution_plus_uncertainty() -> None:
    rng = np.random.default_rng(0)
    forecast = rng.choice([0.1, 0.3, 0.8], 3000)
    outcome = rng.random(3000) < forecast**2
    resamples = Resamples([f"f{i % 30}" for i in range(3000)], num=50)
    reliability, resolution, uncertainty = murphy_decomposition(forecast, outcome, resamples)
    brier = brier_score(forecast, outcome, resamples)
    np.testing.assert_allclose(reliability - resolution + uncertainty, brier, atol=1e-12)
    assert uncertainty[0] == pytest.approx(outcome.mean() * (1 - outcome.mean()))
    honest = murphy_decomposition(forecast**2, outcome, resamples)
    assert honest[0][0] < 0.001 < reliability[0] and honest[1][0] == pytest.approx(resolution[0])


def test_a_constant_shift_is_found_at_its_size() -> None:
    rng = np.random.default_rng(4)
    probability = rng.uniform(0.3, 0.6, 20_000)
    outcome = rng.random(20_000) < probability
    resamples = Resamples.none(len(outcome))
    assert expected_calibration_error(probability + 0.2, outcome, resamples)[0] == pytest.approx(0.2, abs=0.01)
    assert smooth_ece(probability + 0.2, outcome, resamples)[0] == pytest.approx(0.19, abs=0.015)


def test_bins_have_equal_mass_and_equal_probabilities_share_one() -> None:
    assert set(np.bincount(bin_index(np.linspace(0.0, 1.0, 1500)))) == {100}
    assert set(bin_index(np.full(50, 0.3))) == {0} or set(bin_index(np.full(50, 0.3))) == {1}


@pytest.mark.parametrize(
    ("measure", "by_chance"), [(expected_calibration_error, chance_ece), (smooth_ece, chance_smooth_ece)]
)
def test_what_chance_gives_is_what_calibrated_outcomes_show(
    measure: Callable[..., FloatArray], by_chance: Callable[..., float]
) -> None:
    probability, _ = calibrated(1000)
    rng = np.random.default_rng(9)
    resamples = Resamples.none(1000)
    seen = [measure(probability, rng.random(1000) < probability, resamples)[0] for _ in range(200)]
    assert by_chance(probability, np.random.default_rng(0)) == pytest.approx(np.mean(seen), abs=0.002)


def test_proper_scores_equal_scikit_learn() -> None:
    probability, outcome = calibrated(500)
    resamples = Resamples.none(500)
    assert brier_score(probability, outcome, resamples)[0] == pytest.approx(brier_score_loss(outcome, probability))
    clipped = np.clip(probability, 1e-6, 1 - 1e-6)
    assert log_loss(probability, outcome, resamples)[0] == pytest.approx(sklearn_log_loss(outcome, clipped))


def test_a_sure_mistake_leaves_log_loss_finite() -> None:
    assert np.isfinite(log_loss(np.array([0.0, 1.0]), np.array([True, False]), Resamples.none(2))).all()


def test_constant_probabilities_can_be_measured() -> None:
    outcome = np.arange(60) % 4 == 0
    measures = calibration_measures(np.full(60, 0.25), outcome, Resamples([f"f{i % 6}" for i in range(60)]))
    assert measures["ece_15"].value == pytest.approx(0.0, abs=1e-9)
    assert measures["score"].value == pytest.approx(1.0)


def test_reliability_curve_of_a_calibrated_model_follows_the_diagonal() -> None:
    probability, outcome = calibrated(4000)
    diagram = reliability_diagram(probability, outcome, Resamples([f"f{i % 200}" for i in range(4000)]))
    grid, low, high = (np.array(values) for values in (diagram.grid, diagram.low, diagram.high))
    assert ((low <= grid) & (grid <= high)).mean() > 0.9
    assert sum(item.count for item in diagram.bins) == sum(diagram.histogram) == 4000
    assert all(item.low <= item.frequency <= item.high for item in diagram.bins)
