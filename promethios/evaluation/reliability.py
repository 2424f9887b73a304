"""The reliability diagram's data: bins with Wilson intervals, a smoothed curve with its bootstrap band, a histogram."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from promethios.evaluation.confidence_calibration import bin_index, grid_weights, reflected_kernel
from promethios.evaluation.intervals import BoolArray, FloatArray, Resamples, ratio, wilson_interval

CURVE_BANDWIDTH: Final = 0.08
"""Bandwidth of the smoothed curve, in probability."""
MIN_LOCAL_ITEMS: Final = 5.0
"""The curve is drawn where at least this many items lie within about one bandwidth."""

_CURVE_POINTS: Final = 101
_HISTOGRAM_BARS: Final = 20


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One bin: how many items, their mean probability, the share escalated and its 95 % Wilson interval."""

    count: int
    probability: float
    frequency: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ReliabilityDiagram:
    """What the reliability diagram shows.

    bins: of equal mass. grid: probabilities of the curve; curve, low, high: smoothed frequency there and its 95 %
    family-clustered band, only where there are items. histogram: items in each twentieth of [0, 1].
    """

    bins: tuple[ReliabilityBin, ...]
    grid: tuple[float, ...]
    curve: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    histogram: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain data for the report."""
        return asdict(self)


def reliability_diagram(probability: FloatArray, outcome: BoolArray, resamples: Resamples) -> ReliabilityDiagram:
    """Return the diagram of n probabilities of escalation and the expert's outcomes."""
    mass = grid_weights(probability, _CURVE_POINTS) @ reflected_kernel(CURVE_BANDWIDTH, _CURVE_POINTS)
    supported = mass.sum(axis=0) * CURVE_BANDWIDTH * _CURVE_POINTS >= MIN_LOCAL_ITEMS
    mass = mass[:, supported]
    grid = np.linspace(0.0, 1.0, _CURVE_POINTS)[supported]
    # The residual is smoothed and added to the diagonal: smoothing the outcome itself would bend the curve towards
    # wherever most items lie.
    residual = ratio(resamples.sum(mass * (outcome - probability)[:, None]), resamples.sum(mass))
    curves = np.clip(grid + residual, 0.0, 1.0)
    points = [resamples.estimate(column) for column in curves.T]
    counts, _ = np.histogram(probability, bins=_HISTOGRAM_BARS, range=(0.0, 1.0))
    return ReliabilityDiagram(
        bins=_bins(probability, outcome),
        grid=tuple(round(float(value), 2) for value in grid),
        curve=tuple(round(point.value, 4) for point in points),
        low=tuple(round(point.low, 4) for point in points),
        high=tuple(round(point.high, 4) for point in points),
        histogram=tuple(int(count) for count in counts),
    )


def _bins(probability: FloatArray, outcome: BoolArray) -> tuple[ReliabilityBin, ...]:
    index = bin_index(probability)
    members = [index == value for value in np.unique(index)]
    return tuple(
        ReliabilityBin(
            int(mask.sum()),
            round(float(probability[mask].mean()), 4),
            round(float(outcome[mask].mean()), 4),
            *(round(end, 4) for end in wilson_interval(int(outcome[mask].sum()), int(mask.sum()))),
        )
        for mask in members
    )
