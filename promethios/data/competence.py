"""What telemetry shows: the deployment's competence now, through noisy, ageing, sometimes corrupted channels.

    competence k on a grid of logits, k ~ N(MEAN, SPREAD)
    trust, verify, bound   sigmoid(k + noise) on the 0.01 grid          model   k + noise in four words
    corruption             at most one of these channels shows a reading that belongs to another request; it gives
                           itself away by its age, or else `attest` is low (which channel it is stays unknown)
    emotion, intensity     a noisy view of affect                       decision  PENDING, with rare distractors
    missing                each channel on its own; sometimes the whole telemetry

The world is discrete, with integer weights, so the posterior of k is an exact finite sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from promethios.data.draws import BoolArray, FloatArray, IntArray, draw, integer_weights
from promethios.telemetry.state import (
    CHANNEL_BY_NAME,
    CHANNELS,
    COMPETENCE_CHANNELS,
    EMOTIONS,
    MAX_STALE_LEVEL,
    MODEL_AGREEMENT,
    NUMBER_STEPS,
    PIPELINE_DECISIONS,
    GovernanceState,
    Reading,
    stale_level,
)

NAMES: Final = tuple(channel.name for channel in CHANNELS)
COLUMN: Final = {name: column for column, name in enumerate(NAMES)}
VIEWS: Final = ("trust", "verify", "bound", "model")
"""The channels that view competence, and of which one may be corrupted."""
MISSING: Final = -1

HELD_OUT_VALUES: Final = {"trust": (60, 66), "verify": (70, 76), "bound": (50, 56)}
"""Grid steps, both ends included, at which training never sees a fresh reading: is a number read as a number?"""

MEAN: Final = 0.9
SPREAD: Final = 0.92
GRID: Final = np.arange(-280, 461, 10, dtype=np.int64)
"""Competence values, centilogits: MEAN plus and minus four SPREADs (rounded)."""
NOISE: Final = {"trust": 0.46, "verify": 0.50, "bound": 0.54, "model": 0.50}
MODEL_CUTS: Final = (1.5, 0.7, -0.1)
"""Logits above which the ensemble is in CONSENSUS, MAJORITY, SPLIT; below the last only a SINGLE model answers."""

ATTEST_GOOD: Final = (2.2, 0.5)
ATTEST_LOW: Final = (-0.6, 0.5)
"""Mean and spread of attest's logit."""
INTENSITY: Final = ((-0.5, 1.0), (0.5, 1.0))
"""Mean and spread of intensity's logit, without and with affect."""
EMOTION_WEIGHTS: Final = ((24, 20, 18, 13, 10, 7, 5, 3), (9, 7, 9, 15, 19, 14, 16, 11))
DECISION_WEIGHTS: Final = (94, 2, 2, 2)

ABSENT_PERCENT: Final = 10
MISSING_PERCENT: Final = 10
CORRUPTION_WEIGHTS: Final = (260, 35, 35, 35, 35)
"""No corruption, then one weight for each of VIEWS: 35 % together."""
CORRUPTED_STALE_PERCENT: Final = 75
"""How a corrupted channel gives itself away: by age this often, else by a low attest."""
STALE_PERCENT: Final = 3
LOW_ATTEST_PERCENT: Final = 2
"""How often sound telemetry looks bad all the same."""
LEVEL_WEIGHTS: Final = (4, 3, 2, 1)
"""Stale levels 1 to 4 of a stale reading."""
LEVELS: Final = (0, 50, 100, 150, 200)
"""Competence in centilogits, in the range of what requests demand: where training asks how likely there is more."""
OUTCOME_NOISE: Final = 0.01
"""How often the expert does the other thing."""


def _phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def _logit_normal(mean: float, spread: float) -> list[float]:
    """Probabilities of the 101 grid values of sigmoid(N(mean, spread)), each value taking its rounding interval."""
    edges = [(step + 0.5) / NUMBER_STEPS for step in range(NUMBER_STEPS)]
    below = [_phi((math.log(edge / (1.0 - edge)) - mean) / spread) for edge in edges]
    return [high - low for low, high in zip([0.0, *below], [*below, 1.0], strict=True)]


def _words(k: float, noise: float) -> list[float]:
    above = [_phi((k - cut) / noise) for cut in MODEL_CUTS]
    return [high - low for low, high in zip([0.0, *above], [*above, 1.0], strict=True)]


def _view(name: str) -> IntArray:
    of_k = _words if name == "model" else _logit_normal
    return integer_weights(np.array([of_k(float(k) / 100, NOISE[name]) for k in GRID]))


PRIOR: Final = integer_weights(np.exp(-0.5 * ((GRID / 100 - MEAN) / SPREAD) ** 2))
VIEW: Final = {name: _view(name) for name in VIEWS}
"""Weights of a channel's values given competence, [grid, values]."""
ATTEST: Final = integer_weights(np.array([_logit_normal(*ATTEST_GOOD), _logit_normal(*ATTEST_LOW)]))
INTENSITY_OF_AFFECT: Final = integer_weights(np.array([_logit_normal(*of_affect) for of_affect in INTENSITY]))
EMOTION: Final = np.array(EMOTION_WEIGHTS, dtype=np.int64)

POSTERIOR_BLOCK: Final = 2048
"""Requests whose posteriors are in memory at once."""
DRAW_COLUMNS: Final = 5 + 4 * len(CHANNELS)
"""Uniform numbers that one draw of telemetry takes."""


@dataclass(frozen=True)
class Telemetry:
    """Telemetry of n requests.

    values [n, channels]: grid step, index of the word, or MISSING. levels, ages [n, channels]: stale level and age in
    whole seconds. absent [n]: no telemetry at all (then every value is MISSING).
    """

    values: IntArray
    levels: IntArray
    ages: IntArray
    absent: BoolArray

    @classmethod
    def of(cls, states: Sequence[GovernanceState | None]) -> Telemetry:
        """Return the telemetry of these states; the inverse of `state`."""
        values = np.full((len(states), len(NAMES)), MISSING, dtype=np.int64)
        levels = np.zeros_like(values)
        ages = np.zeros_like(values)
        for row, state in enumerate(states):
            for column, (channel, reading) in enumerate(state or ()):
                if reading is not None:
                    values[row, column] = (
                        channel.values.index(reading.value)
                        if isinstance(reading.value, str)
                        else round(reading.value * NUMBER_STEPS)
                    )
                    levels[row, column], ages[row, column] = stale_level(channel, reading), int(reading.age_s)
        return cls(values, levels, ages, np.array([state is None for state in states], dtype=np.bool_))

    def __len__(self) -> int:
        return len(self.absent)

    def __getitem__(self, rows: IntArray | BoolArray | slice) -> Telemetry:
        return Telemetry(self.values[rows], self.levels[rows], self.ages[rows], self.absent[rows])

    def degraded(self) -> BoolArray:
        """The vectorised twin of `state is None or state.is_degraded()`."""
        columns = [COLUMN[name] for name in COMPETENCE_CHANNELS]
        poor = (self.values[:, columns] == MISSING) | (self.levels[:, columns] > 0)
        return np.asarray(2 * poor.sum(axis=1) >= len(COMPETENCE_CHANNELS))

    def shows_held_out_values(self) -> BoolArray:
        """Return where a fresh reading lies in one of HELD_OUT_VALUES [n]."""
        shown = np.full(len(self), False)
        for name, (low, high) in HELD_OUT_VALUES.items():
            value, level = self.values[:, COLUMN[name]], self.levels[:, COLUMN[name]]
            shown |= (value >= low) & (value <= high) & (level == 0)
        return shown

    def with_one_stale(self, view: IntArray, level: IntArray) -> Telemetry:
        """Return the same readings with one view stale and the other views fresh.

        view [n]: index into VIEWS. level [n]: from 1 to 4.
        """
        levels, ages = self.levels.copy(), self.ages.copy()
        for index, name in enumerate(VIEWS):
            column, ttl_s = COLUMN[name], int(CHANNEL_BY_NAME[name].ttl_s)
            is_stale = view == index
            youngest = ttl_s * 2 ** (level - 1)
            age = ages[:, column]
            levels[:, column] = np.where(is_stale, level, 0)
            ages[:, column] = np.where(is_stale, youngest + 1 + age % youngest, age % (ttl_s + 1))
        seen = self.values != MISSING
        return replace(self, levels=np.where(seen, levels, 0), ages=np.where(seen, ages, 0))

    def state(self, row: int) -> GovernanceState | None:
        """Return one request's telemetry, None when it is absent."""
        if self.absent[row]:
            return None
        readings = {}
        for channel, value, age in zip(CHANNELS, self.values[row].tolist(), self.ages[row].tolist(), strict=True):
            if value != MISSING:
                readings[channel.name] = Reading(
                    value / NUMBER_STEPS if channel.is_number else channel.values[value], float(age)
                )
        return GovernanceState(**readings)


def concatenate(parts: Sequence[Telemetry]) -> Telemetry:
    """Return the telemetry of all parts, one after the other."""
    return Telemetry(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def draw_competence(u: FloatArray) -> IntArray:
    """Draw competence for each number of `u` [n]: indices into GRID."""
    return draw(PRIOR, u)


def draw_telemetry(k: IntArray, affect: IntArray, u: FloatArray) -> Telemetry:
    """Draw the telemetry of n requests: k [n] into GRID, affect [n] 0 or 1, u [n, DRAW_COLUMNS] uniform."""
    n = len(k)
    columns = iter(u.T)
    corrupted = draw(np.array(CORRUPTION_WEIGHTS), next(columns)) - 1
    gives_away_by_age = next(columns) * 100 < CORRUPTED_STALE_PERCENT
    other_k = draw_competence(next(columns))
    attest_is_low = next(columns) * 100 < LOW_ATTEST_PERCENT
    attest_is_low |= (corrupted >= 0) & ~gives_away_by_age
    absent = next(columns) * 100 < ABSENT_PERCENT

    values = np.empty((n, len(NAMES)), dtype=np.int64)
    levels = np.zeros_like(values)
    ages = np.zeros_like(values)
    for column, channel in enumerate(CHANNELS):
        value_u, stale_u, age_u, missing_u = (next(columns) for _ in range(4))
        is_corrupted = np.full(n, False)
        if channel.name in VIEWS:
            is_corrupted = corrupted == VIEWS.index(channel.name)
            table = VIEW[channel.name][np.where(is_corrupted, other_k, k)]
        else:
            table = _table(channel.name, attest_is_low, affect)
        values[:, column] = draw(table, value_u)
        stale = np.where(is_corrupted & gives_away_by_age, 1.0, STALE_PERCENT / 100)
        levels[:, column] = _levels(stale, stale_u)
        ages[:, column] = _ages(levels[:, column], channel.ttl_s, age_u)
        missing = absent | (missing_u * 100 < MISSING_PERCENT)
        values[missing, column], levels[missing, column], ages[missing, column] = MISSING, 0, 0
    return Telemetry(values, levels, ages, absent)


def posterior(telemetry: Telemetry) -> FloatArray:
    """Return the exact posterior of competence given telemetry, [n, grid]; the prior where telemetry is absent."""
    n = len(telemetry)
    likelihood = np.ones((len(VIEWS), n, len(GRID)))
    corrupted_likelihood = np.ones((len(VIEWS), n))
    stale_ratio = np.ones((len(VIEWS), n))
    sound = PRIOR / PRIOR.sum()
    for view, name in enumerate(VIEWS):
        value, level = telemetry.values[:, COLUMN[name]], telemetry.levels[:, COLUMN[name]]
        seen = value != MISSING
        table = VIEW[name] / VIEW[name].sum(axis=1, keepdims=True)
        likelihood[view, seen] = table.T[value[seen]]
        corrupted_likelihood[view, seen] = (sound @ table)[value[seen]]
        # The share of the stale levels is the same for both, and cancels.
        stale_ratio[view, seen] = np.where(level[seen] > 0, 100 / STALE_PERCENT, 0.0)
    attest_good, attest_low = _attest_likelihoods(telemetry)
    weights = np.array(CORRUPTION_WEIGHTS) / sum(CORRUPTION_WEIGHTS)
    by_age = CORRUPTED_STALE_PERCENT / 100
    total = weights[0] * attest_good[:, None] * likelihood.prod(axis=0)
    for view in range(len(VIEWS)):
        # One channel says nothing about k; it shows its age, or it hides behind a low attest.
        scale = by_age * stale_ratio[view] * attest_good + (1 - by_age) * attest_low
        others = likelihood[np.arange(len(VIEWS)) != view].prod(axis=0)
        total += weights[view + 1] * (scale * corrupted_likelihood[view])[:, None] * others
    total *= sound
    return np.asarray(total / total.sum(axis=1, keepdims=True))


def probability_below(posterior_of_k: FloatArray, demands: IntArray) -> FloatArray:
    """Return P(k < demand), [n] for demands [n]."""
    cumulative = np.concatenate([np.zeros((len(posterior_of_k), 1)), np.cumsum(posterior_of_k, axis=1)], axis=1)
    return np.asarray(cumulative[np.arange(len(demands)), np.searchsorted(GRID, demands, side="left")])


def levels_reached(telemetry: Telemetry) -> FloatArray:
    """Return P(competence is at least each of LEVELS), [n, levels], of what the telemetry alone shows."""
    reached = np.empty((len(telemetry), len(LEVELS)))
    for start in range(0, len(telemetry), POSTERIOR_BLOCK):
        rows = slice(start, start + POSTERIOR_BLOCK)
        of_k = posterior(telemetry[rows])
        for column, level in enumerate(LEVELS):
            reached[rows, column] = 1.0 - probability_below(of_k, np.full(len(of_k), level))
    return reached.clip(0.0, 1.0)


def outcome_probability(below: FloatArray) -> FloatArray:
    """Return P(the expert takes the request) from P(k < demand): the outcome is flipped now and then."""
    return OUTCOME_NOISE + (1 - 2 * OUTCOME_NOISE) * below


def _table(name: str, attest_is_low: BoolArray, affect: IntArray) -> IntArray:
    """Return the weights of a channel that does not view competence: [n, values], or [values] for all."""
    if name == "attest":
        return ATTEST[attest_is_low.astype(np.int64)]
    if name == "decision":
        return np.array(DECISION_WEIGHTS, dtype=np.int64)
    return {"intensity": INTENSITY_OF_AFFECT, "emotion": EMOTION}[name][affect]


def stale_levels(u: FloatArray) -> IntArray:
    """Draw the level, 1 to 4, of a reading that is stale, for each number of `u` [n]."""
    return 1 + draw(np.array(LEVEL_WEIGHTS), u)


def _levels(probability: FloatArray, u: FloatArray) -> IntArray:
    """Draw stale levels: 0 with 1 - probability; the same number decides the level of a stale reading."""
    cumulative = np.cumsum(LEVEL_WEIGHTS)
    target = (u / probability * cumulative[-1]).astype(np.int64)
    return np.where(u < probability, 1 + np.minimum(np.searchsorted(cumulative, target, side="right"), 3), 0)


def _ages(levels: IntArray, ttl_s: float, u: FloatArray) -> IntArray:
    """Draw whole seconds: up to the time-to-live when fresh, else within the stale level's interval."""
    low = np.where(levels == 0, 0.0, ttl_s * 2.0 ** (levels - 1) + 1)
    high = ttl_s * 2.0**levels
    return np.asarray(low + np.floor(u * (high - low + 1)), dtype=np.int64)


def _attest_likelihoods(telemetry: Telemetry) -> tuple[FloatArray, FloatArray]:
    """Likelihood of attest's reading when the telemetry is sound, and when a corruption lowers it."""
    value = telemetry.values[:, COLUMN["attest"]]
    good, low = (row[np.maximum(value, 0)] / row.sum() for row in ATTEST)
    share = LOW_ATTEST_PERCENT / 100
    sound = (1 - share) * good + share * low
    seen = value != MISSING
    return np.where(seen, sound, 1.0), np.where(seen, low, 1.0)


assert len(MODEL_CUTS) + 1 == len(MODEL_AGREEMENT) == MAX_STALE_LEVEL == len(LEVEL_WEIGHTS)
assert len(EMOTION_WEIGHTS[0]) == len(EMOTIONS) and len(DECISION_WEIGHTS) == len(PIPELINE_DECISIONS)
