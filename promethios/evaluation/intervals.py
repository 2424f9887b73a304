"""Confidence intervals: Wilson's for one proportion, a bootstrap over scenario families for everything else.

Examples of one scenario family share wording and causes, so they are not independent. The bootstrap therefore draws
whole families with replacement (a cluster bootstrap; Cameron, Gelbach & Miller 2008). Every measure is a function of
sums over items, and in a resample such a sum is the family sums times how often each family was drawn: one small matrix
of counts serves every measure, and a difference of two systems is paired because both see the same counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from promethios.errors import DatasetError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

NUM_RESAMPLES: Final = 10_000
CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with the ends of its two-sided 95 % confidence interval; NaN where the data define none."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """Return plain data for JSON, which has no NaN."""
        return {"value": _or_none(self.value), "low": _or_none(self.low), "high": _or_none(self.high)}


class Resamples:
    """The sample and its resamples of whole families: 1 + num rows, the first one the sample itself.

    families: the family of each of n items. num: how many resamples. seed: of the draws.
    Raises DatasetError with fewer than two families: one cluster shows no variation.
    """

    def __init__(self, families: Sequence[str], *, num: int = NUM_RESAMPLES, seed: int = 0) -> None:
        names, index = np.unique(np.asarray(families), return_inverse=True)
        if num and len(names) < 2:
            raise DatasetError(
                f"{len(families)} example(s) of one scenario family cannot give a confidence interval; evaluate more "
                "(--num_examples)"
            )
        self.families: list[BoolArray] = [index == family for family in range(len(names))]
        draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=num)
        self.counts: FloatArray = np.concatenate([np.ones((1, len(names))), draws])

    @classmethod
    def none(cls, num_items: int) -> Resamples:
        """Return the sample alone, for a value without an interval."""
        return cls([""] * num_items, num=0)

    def by_family(self, values: npt.ArrayLike) -> FloatArray:
        """Return the sums of `values` [n, ...] within each family: [families, ...]."""
        array = np.asarray(values, np.float64)
        return np.stack([array[members].sum(axis=0) for members in self.families])

    def sum(self, values: npt.ArrayLike) -> FloatArray:
        """Return the sum of `values` [n] or [n, k] in every row: [1 + num] or [1 + num, k]."""
        return np.asarray(self.counts @ self.by_family(values))

    def mean(self, values: npt.ArrayLike, where: BoolArray | None = None) -> FloatArray:
        """Return the mean of `values` [n] over the items of `where` [n] in every row; NaN where a row has none."""
        array = np.asarray(values, np.float64)
        selected = np.ones(len(array)) if where is None else where.astype(np.float64)
        total = self.sum(np.stack([array * selected, selected], axis=1))
        return ratio(total[:, 0], total[:, 1])

    def estimate(self, rows: FloatArray) -> Estimate:
        """Return the estimate of a measure taken in every row [1 + num]: percentile interval, made to hold the value.

        This matters for measures such as ECE that noise only ever raises: every resample may lie above the sample.
        """
        drawn = rows[1:][np.isfinite(rows[1:])]
        value = float(rows[0])
        if not math.isfinite(value):
            return Estimate(math.nan, math.nan, math.nan)
        if not len(drawn):
            return Estimate(value, math.nan, math.nan)
        tail = (1.0 - CONFIDENCE) / 2.0
        low, high = np.quantile(drawn, [tail, 1.0 - tail])
        return Estimate(value, min(value, float(low)), max(value, float(high)))


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Return numerator / denominator, NaN where the denominator is 0."""
    result = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def wilson_interval(successes: int, trials: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the two-sided Wilson score interval of a proportion (Wilson 1927); (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    center, half = _wilson(np.array(float(successes)), np.array(float(trials)), 0.5 + confidence / 2.0)
    return max(0.0, float(center - half)), min(1.0, float(center + half))


def wilson_lower(successes: npt.ArrayLike, trials: npt.ArrayLike, *, confidence: float = CONFIDENCE) -> FloatArray:
    """Return the one-sided lower Wilson bound of each proportion: the truth lies above it with this confidence.

    0 without trials. Counts may be fractional (weighted).
    """
    num_trials = np.asarray(trials, np.float64)
    center, half = _wilson(np.asarray(successes, np.float64), np.maximum(num_trials, 1e-9), confidence)
    return np.where(num_trials > 0, np.maximum(0.0, center - half), 0.0)


def clopper_pearson_upper(
    successes: npt.ArrayLike, trials: npt.ArrayLike, *, confidence: float = CONFIDENCE
) -> FloatArray:
    """Return the one-sided exact upper bound of each proportion (Clopper & Pearson 1934); 1 without trials.

    The truth lies below it with at least this confidence, for any true value and any number of trials.
    """
    k, n = np.asarray(successes, np.float64), np.asarray(trials, np.float64)
    return np.where(k < n, special.betaincinv(k + 1.0, np.maximum(n - k, 1.0), confidence), 1.0)


def clopper_pearson_lower(
    successes: npt.ArrayLike, trials: npt.ArrayLike, *, confidence: float = CONFIDENCE
) -> FloatArray:
    """Return the one-sided exact lower bound of each proportion (Clopper & Pearson 1934); 0 without trials."""
    k, n = np.asarray(successes, np.float64), np.asarray(trials, np.float64)
    return 1.0 - clopper_pearson_upper(n - k, n, confidence=confidence)


def _wilson(successes: FloatArray, trials: FloatArray, quantile: float) -> tuple[FloatArray, FloatArray]:
    z2 = NormalDist().inv_cdf(quantile) ** 2
    share = successes / trials
    center = (share + z2 / (2.0 * trials)) / (1.0 + z2 / trials)
    half = np.sqrt(z2 * (share * (1.0 - share) / trials + z2 / (4.0 * trials * trials))) / (1.0 + z2 / trials)
    return center, half


def _or_none(number: float) -> float | None:
    return number if math.isfinite(number) else None
