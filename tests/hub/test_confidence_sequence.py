"""Intervals that hold at every look: measured on experiments whose arms are alike, and on one whose arms are not."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from promethios_hub.experiments.confidence_sequence import (
    FEWEST,
    Interval,
    Sample,
    difference_interval,
    mean_interval,
    width_factor,
)

ALPHA = 0.05
EXPERIMENTS = 300
SESSIONS = 3000
LOOK_EVERY = 20


def values(kind: str, random: np.random.Generator, shift: float = 0.0) -> np.ndarray:
    if kind == "share":
        return (random.random(SESSIONS) < 0.3 + shift).astype(float)
    if kind == "rare":
        return (random.random(SESSIONS) < 0.01 + shift).astype(float)
    return np.exp(random.normal(0.0, 1.0, SESSIONS)) + shift


def looks(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[Sample, Sample]]:
    """Yield both arms' samples after every LOOK_EVERY sessions of each."""
    sums = [(np.cumsum(arm), np.cumsum(arm * arm)) for arm in (first, second)]
    for count in range(LOOK_EVERY, SESSIONS + 1, LOOK_EVERY):
        samples = []
        for total, squares in sums:
            mean = float(total[count - 1]) / count
            samples.append(Sample(count, mean, (float(squares[count - 1]) - count * mean * mean) / (count - 1)))
        yield samples[0], samples[1]


def fixed_interval(treatment: Sample, control: Sample) -> Interval:
    """Return the textbook's 95 % interval, which holds at one look only."""
    error = math.sqrt(treatment.variance / treatment.count + control.variance / control.count)
    difference = treatment.mean - control.mean
    return Interval(difference, difference - 1.96 * error, difference + 1.96 * error)


def tells_apart(interval: Interval) -> bool:
    return interval.low > 0 or interval.high < 0


@pytest.mark.parametrize("kind", ["share", "rare", "heavy-tailed"])
def test_arms_that_are_alike_are_told_apart_at_most_as_often_as_alpha_says(kind: str) -> None:
    random = np.random.default_rng(7)
    always, fixed = 0, 0
    for _ in range(EXPERIMENTS):
        seen = list(looks(values(kind, random), values(kind, random)))
        always += any(tells_apart(difference_interval(*pair, ALPHA)) for pair in seen)
        fixed += any(tells_apart(fixed_interval(*pair)) for pair in seen)
    assert always / EXPERIMENTS <= ALPHA
    assert fixed / EXPERIMENTS > 3 * ALPHA, "peeking did no harm here, so this proves nothing"


def test_arms_that_differ_are_told_apart_and_the_difference_lies_inside() -> None:
    random = np.random.default_rng(8)
    found, missed = 0, 0
    for _ in range(EXPERIMENTS // 3):
        intervals = [
            difference_interval(*pair, ALPHA)
            for pair in looks(values("share", random, shift=0.08), values("share", random))
        ]
        found += any(interval.low > 0 for interval in intervals)
        missed += any(not interval.low <= 0.08 <= interval.high for interval in intervals)
    assert found / (EXPERIMENTS // 3) > 0.95
    assert missed / (EXPERIMENTS // 3) <= ALPHA


def test_too_few_sessions_say_nothing() -> None:
    few, many = Sample(FEWEST - 1, 0.0, 0.01), Sample(10 * FEWEST, 1.0, 0.01)
    assert math.isinf(difference_interval(many, few, ALPHA).high)
    assert math.isinf(mean_interval(few, ALPHA).low)
    assert not math.isinf(mean_interval(many, ALPHA).low)


def test_the_width_is_that_of_the_published_formula() -> None:
    # as written in GrowthBook's documentation, for a standard error of 1
    rho = math.sqrt((-2 * math.log(0.05) + math.log(-2 * math.log(0.05) + 1)) / 1000)
    units = 4000
    expected = math.sqrt(
        2 * (units * rho**2 + 1) / (units**2 * rho**2) * math.log(math.sqrt(units * rho**2 + 1) / 0.05)
    ) * math.sqrt(units)
    assert width_factor(units, 0.05) == pytest.approx(expected)


def test_units_that_are_all_alike_prove_nothing() -> None:
    none_failed = Sample.of([0.0] * 200)
    assert difference_interval(none_failed, none_failed, 0.05).high == math.inf
    assert mean_interval(none_failed, 0.05).high == math.inf
