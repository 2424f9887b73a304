from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from promethios.evaluation.certificate import DomainCertificate
from promethios.evaluation.certificate_fit import certify, threshold_grid
from promethios.evaluation.intervals import clopper_pearson_lower, clopper_pearson_upper
from promethios.ontology.decision import decide

ALPHA = 0.05


def draw(rng: np.random.Generator, num: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Perfectly calibrated probabilities, their outcomes, and whose telemetry is degraded."""
    probability = rng.beta(0.6, 1.2, num)
    return probability, rng.random(num) < probability, rng.random(num) < 0.2


def certified(sample: tuple[np.ndarray, np.ndarray, np.ndarray], limit: float = ALPHA) -> DomainCertificate:
    return certify(*sample, risk_limit=limit, most=0.4)


def test_the_risk_is_kept_in_95_of_100_calibration_samples_and_conformal_risk_control_keeps_only_its_mean() -> None:
    rng = np.random.default_rng(0)
    probability, _, degraded = draw(rng, 200_000)
    # The risk is the expected number of misses, and the probabilities are the true ones: no noise in the outcome.
    needed = np.where(degraded, 2.0 * probability, probability)
    risk = {t: float(probability[needed < t].sum() / len(probability)) for t in (0.0, *threshold_grid(0.4))}
    limit = 0.02
    draws = [certified(draw(rng, 800), limit) for _ in range(400)]
    broken = np.mean([risk[item.threshold] > limit for item in draws])
    assert broken <= 0.05 + 0.02, "95 % confidence; two standard errors of the simulation"
    assert np.mean([risk[item.crc_threshold] > limit for item in draws]) > 0.2
    assert np.mean([risk[item.crc_threshold] for item in draws]) <= limit
    assert np.mean([item.auto_answered_share for item in draws]) > 0.2, "careful, but not so that nothing is answered"


def test_counts_are_those_of_the_deployed_decision_function() -> None:
    probability, outcome, degraded = sample = draw(np.random.default_rng(1), 900)
    result = certified(sample)
    answered = np.array(
        [
            decide((1.0 - p, 0.0, 0.0, p), result.threshold, degraded=bool(d)) != "escalate"
            for p, d in zip(probability, degraded, strict=True)
        ]
    )
    assert 0.0 < result.threshold < 0.4
    assert result.num_answered == answered.sum()
    assert result.num_missed == (answered & outcome).sum()
    assert result.auto_answered_share == answered.mean()
    assert result.risk_upper_bound == clopper_pearson_upper(result.num_missed, 900) <= ALPHA


def test_the_next_threshold_would_break_the_limit() -> None:
    probability, outcome, degraded = sample = draw(np.random.default_rng(2), 900)
    result = certified(sample)
    grid = threshold_grid(0.4)
    following = grid[np.searchsorted(grid, result.threshold) + 1]
    needed = np.where(degraded, 2.0 * probability, probability)
    assert clopper_pearson_upper((outcome & (needed < following)).sum(), 900) > ALPHA


def test_no_threshold_above_that_of_cost_is_certified() -> None:
    probability, _, degraded = draw(np.random.default_rng(3), 500)
    never_missed = certify(probability, np.zeros(500, bool), degraded, risk_limit=ALPHA, most=0.4)
    assert never_missed.threshold == never_missed.crc_threshold == 0.4
    assert threshold_grid(0.4)[-1] == 0.4 and threshold_grid(0.33)[-2:] == pytest.approx([0.325, 0.33])


@pytest.mark.parametrize(("num", "is_certified"), [(0, False), (148, False), (149, True)])
def test_too_few_examples_certify_nothing_whatever_they_say(num: int, is_certified: bool) -> None:
    result = certify(np.full(num, 0.001), np.zeros(num, bool), np.zeros(num, bool), risk_limit=0.02, most=0.4)
    assert result.is_certified == is_certified
    if not is_certified:
        assert (result.threshold, result.num_answered, result.risk_upper_bound) == (0.0, 0, 0.0)


def test_a_model_that_misses_at_once_certifies_nothing() -> None:
    result = certify(np.full(500, 0.001), np.ones(500, bool), np.zeros(500, bool), risk_limit=ALPHA, most=0.4)
    assert not result.is_certified


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 40), (9, 800), (40, 40)])
def test_exact_bounds_invert_the_binomial_distribution(successes: int, trials: int) -> None:
    upper = float(clopper_pearson_upper(successes, trials))
    lower = float(clopper_pearson_lower(successes, trials))
    assert (binom.cdf(successes, trials, upper) == pytest.approx(0.05)) if successes < trials else upper == 1.0
    assert (binom.sf(successes - 1, trials, lower) == pytest.approx(0.05)) if successes else lower == 0.0


def test_without_trials_nothing_is_known() -> None:
    assert (float(clopper_pearson_lower(0, 0)), float(clopper_pearson_upper(0, 0))) == (0.0, 1.0)
