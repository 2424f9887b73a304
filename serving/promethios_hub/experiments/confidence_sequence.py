"""Always-valid intervals: look at them after every outcome, and stop an experiment whenever one says enough.

The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit
theory and asymptotic confidence sequences" (2021), eq. (2.2), in the two-sample form that GrowthBook documents:

    estimate +- s * sqrt(N) * sqrt( 2 (N rho^2 + 1) / (N^2 rho^2) * log( sqrt(N rho^2 + 1) / alpha ) )

with s the standard error of the estimate and N the number of units. rho sets where it is tightest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import Final

TIGHTEST_AT: Final = 1000
"""Units at which the sequence is tightest: about as many as an experiment of a week has."""
FEWEST: Final = 30
"""Units of an arm below which nothing is said: the theory is asymptotic. Nor is anything said of units that are all
alike, whose variance of 0 would make the interval a point: 0 failures of 200 do not prove that there are none."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its always-valid interval; infinite while there are too few units."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Sample:
    """Count, mean and variance of one arm's units."""

    count: int
    mean: float
    variance: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Sample:
        """Return the summary of values, one a unit."""
        if not values:
            return cls(0, math.nan, math.nan)
        return cls(len(values), fmean(values), variance(values) if len(values) > 1 else 0.0)


def width_factor(units: int, alpha: float) -> float:
    """Return by how many standard errors an always-valid interval of level 1 - alpha reaches to each side."""
    rho_squared = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / TIGHTEST_AT
    spread = units * rho_squared + 1
    return math.sqrt(2 * spread / (units * rho_squared) * math.log(math.sqrt(spread) / alpha))


def mean_interval(sample: Sample, alpha: float) -> Interval:
    """Return the interval of a mean."""
    if sample.count < FEWEST or not sample.variance:
        return Interval(sample.mean, -math.inf, math.inf)
    reach = math.sqrt(sample.variance / sample.count) * width_factor(sample.count, alpha)
    return Interval(sample.mean, sample.mean - reach, sample.mean + reach)


def difference_interval(treatment: Sample, control: Sample, alpha: float) -> Interval:
    """Return the interval of the difference of two means, treatment minus control."""
    estimate = treatment.mean - control.mean
    if min(treatment.count, control.count) < FEWEST or not (treatment.variance and control.variance):
        return Interval(estimate, -math.inf, math.inf)
    error = math.sqrt(treatment.variance / treatment.count + control.variance / control.count)
    reach = error * width_factor(treatment.count + control.count, alpha)
    return Interval(estimate, estimate - reach, estimate + reach)
