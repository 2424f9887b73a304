"""Confidence calibration: does a probability of 30 % mean that the expert escalates 30 times in 100?

    ECE-15    mean |probability - frequency| over 15 bins of equal mass. Noise alone makes it positive, so the value
              that a perfectly calibrated model would show on these items (`chance_ece`) is reported beside it.
    smECE     the smooth calibration error, free of bins: Blasiok & Nakkiran, "Smooth ECE: Principled Reliability
              Diagrams via Kernel Smoothing", 2023 (arXiv 2309.12236), with the reflected Gaussian kernel. Noise
              alone makes it positive, too (`chance_smooth_ece`).
    Brier, log loss   proper scores: they reward calibration and sharpness together. The Brier score is taken apart
              after Murphy 1973 (J. Appl. Meteor. 12) over the same 15 bins: reliability (0 is best) minus resolution
              (how far the bins lie apart: more is better) plus uncertainty (the outcome's own variance). That sum
              leaves out what varies within a bin, which is small.

The seed's score "confidence calibration > 80 %" is 1 - ECE-15 here.
Functions return one value for each row of the resamples (see `intervals`): [1 + num].
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from promethios.evaluation.intervals import BoolArray, Estimate, FloatArray, Resamples, ratio

IntArray = npt.NDArray[np.int64]

NUM_BINS: Final = 15
MIN_PROBABILITY: Final = 1e-6
"""Log loss clips probabilities to at least this far from 0 and 1, so one sure mistake does not make it infinite."""

BY_CHANCE: Final = {"ece_15": "chance_ece_15", "smooth_ece": "chance_smooth_ece"}
"""Measures that noise alone makes positive, and under which name stands what a calibrated model would show."""

_GRID_POINTS: Final = 251
_BANDWIDTHS: Final = np.geomspace(0.004, 1.0, 48)
_REFLECTIONS: Final = range(-2, 3)
_CHANCE_DRAWS: Final = 500


def bin_index(probability: FloatArray, num_bins: int = NUM_BINS) -> IntArray:
    """Return each item's bin [n]: quantile bins of equal mass, equal probabilities always share a bin."""
    edges = np.unique(np.quantile(probability, np.linspace(0.0, 1.0, num_bins + 1)[1:-1]))
    return np.searchsorted(edges, probability, side="right")


def expected_calibration_error(
    probability: FloatArray, outcome: BoolArray, resamples: Resamples, num_bins: int = NUM_BINS
) -> FloatArray:
    """Return ECE: the mass-weighted mean over bins of |mean probability - share escalated|."""
    residual = (probability - outcome)[:, None] * one_hot_bins(bin_index(probability, num_bins))
    return ratio(np.abs(resamples.sum(residual)).sum(axis=1), resamples.sum(np.ones(len(outcome))))


def chance_ece(probability: FloatArray, rng: np.random.Generator) -> float:
    """Return the ECE-15 that noise alone gives: its mean over outcomes drawn from the probabilities themselves."""
    per_bin = _residuals_by_chance(probability, rng) @ one_hot_bins(bin_index(probability))
    return float(np.abs(per_bin).sum(axis=1).mean() / len(probability))


def smooth_ece(probability: FloatArray, outcome: BoolArray, resamples: Resamples) -> FloatArray:
    """Return smECE: the bandwidth s at which the kernel-smoothed residual's mean absolute value equals s.

    The residual is put on a grid and smoothed at the bandwidths of a geometric series, up to where every row has met
    smECE_s = s, which falls as s grows; the crossing is interpolated. Grid and series keep the error below 0.002.
    """
    residual = (probability - outcome)[:, None] * grid_weights(probability, _GRID_POINTS)
    return _crossing(resamples.sum(residual) / resamples.sum(np.ones(len(outcome)))[:, None])


def chance_smooth_ece(probability: FloatArray, rng: np.random.Generator) -> float:
    """Return the smECE that noise alone gives: its mean over outcomes drawn from the probabilities themselves."""
    residual = _residuals_by_chance(probability, rng) @ grid_weights(probability, _GRID_POINTS)
    return float(_crossing(residual / len(probability)).mean())


def _residuals_by_chance(probability: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return probability - outcome [draws, n] for outcomes drawn from the probabilities themselves."""
    return probability - (rng.random((_CHANCE_DRAWS, len(probability))) < probability)


def _crossing(residual: FloatArray) -> FloatArray:
    """Return for each row of mean residuals on the grid [rows, points] the bandwidth that equals what is left of it."""
    crossing = np.full(len(residual), _BANDWIDTHS[-1])
    active, width_before, above = np.arange(len(residual)), 0.0, np.zeros(len(residual))
    for width in _BANDWIDTHS.tolist():
        gap = np.abs(residual[active] @ reflected_kernel(width, _GRID_POINTS)).sum(axis=1) - width
        met = gap <= 0.0
        if width_before:
            share = above[met] / (above[met] - gap[met])
            crossing[active[met]] = width_before + share * (width - width_before)
        else:
            crossing[active[met]] = gap[met] + width
        active, above, width_before = active[~met], gap[~met], width
        if not len(active):
            break
    return crossing


def brier_score(probability: FloatArray, outcome: BoolArray, resamples: Resamples) -> FloatArray:
    """Return the mean squared distance between probability and outcome (Brier 1950)."""
    return resamples.mean((probability - outcome) ** 2)


def murphy_decomposition(
    probability: FloatArray, outcome: BoolArray, resamples: Resamples
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return reliability, resolution and uncertainty; the first - the second + the third is the Brier score of bins."""
    bins = one_hot_bins(bin_index(probability))
    count, total = resamples.sum(bins), resamples.sum(np.ones(len(outcome)))
    forecast = ratio(resamples.sum(probability[:, None] * bins), count)
    frequency = ratio(resamples.sum(outcome[:, None] * bins), count)
    rate = resamples.mean(outcome)
    # A resample may leave a bin empty: it weighs nothing.
    reliability = np.nansum(count * (forecast - frequency) ** 2, axis=1) / total
    resolution = np.nansum(count * (frequency - rate[:, None]) ** 2, axis=1) / total
    return reliability, resolution, rate * (1.0 - rate)


def log_loss(probability: FloatArray, outcome: BoolArray, resamples: Resamples) -> FloatArray:
    """Return the mean negative log likelihood of the outcomes, in nats."""
    clipped = np.clip(probability, MIN_PROBABILITY, 1.0 - MIN_PROBABILITY)
    return resamples.mean(-np.log(np.where(outcome, clipped, 1.0 - clipped)))


def calibration_measures(probability: FloatArray, outcome: BoolArray, resamples: Resamples) -> dict[str, Estimate]:
    """Return every calibration measure of one system on n items, with intervals; `score` is 1 - ECE-15."""
    ece = expected_calibration_error(probability, outcome, resamples)
    reliability, resolution, uncertainty = murphy_decomposition(probability, outcome, resamples)
    values = {
        "score": 1.0 - ece,
        "ece_15": ece,
        "smooth_ece": smooth_ece(probability, outcome, resamples),
        "brier": brier_score(probability, outcome, resamples),
        "brier_reliability": reliability,
        "brier_resolution": resolution,
        "brier_uncertainty": uncertainty,
        "log_loss": log_loss(probability, outcome, resamples),
    }
    return {name: resamples.estimate(value) for name, value in values.items()}


def smooth_ece_by_domain(
    probability: FloatArray, outcome: BoolArray, members: Mapping[str, BoolArray]
) -> dict[str, float]:
    """Return each domain's smECE (no interval); `members` maps a domain to its items [n], at least one."""
    return {
        domain: float(smooth_ece(probability[mask], outcome[mask], Resamples.none(int(mask.sum())))[0])
        for domain, mask in members.items()
    }


def one_hot_bins(index: IntArray) -> FloatArray:
    """Return the bins as columns of zeros and ones [n, bins]."""
    return np.asarray(np.eye(int(index.max()) + 1)[index])


def grid_weights(probability: FloatArray, points: int) -> FloatArray:
    """Return [n, points]: each item's unit mass split linearly over its two neighbours on an even grid of [0, 1]."""
    position = probability * (points - 1)
    left = np.clip(position.astype(np.int64), 0, points - 2)
    share = position - left
    matrix = np.zeros((len(probability), points))
    rows = np.arange(len(probability))
    matrix[rows, left] = 1.0 - share
    matrix[rows, left + 1] = share
    return matrix


@cache
def reflected_kernel(bandwidth: float, points: int) -> FloatArray:
    """Return [points, points]: the Gaussian kernel on an even grid of [0, 1], reflected at both ends; rows sum to 1.

    Entry (i, j) is the mass that a unit at point i sends to the cell of point j; the two end cells are half as wide.
    """
    grid = np.linspace(0.0, 1.0, points)
    kernel = np.zeros((points, points))
    for period in _REFLECTIONS:
        for image in (2.0 * period + grid, 2.0 * period - grid):
            kernel += np.exp(-0.5 * ((grid[:, None] - image) / bandwidth) ** 2)
    kernel[:, [0, -1]] *= 0.5
    return np.asarray(kernel / kernel.sum(axis=1, keepdims=True))
