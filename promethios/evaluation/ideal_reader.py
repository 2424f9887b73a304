"""What an ideal reader would say when the telemetry of a generated example changes and its text does not.

The generator's posterior of competence is exact for any telemetry. What the text demands is not stored, but an
example's own telemetry and P(escalate) give it back: the demand is the place on the competence grid where the
posterior's cumulative sum equals that probability. With it the measures of monotonicity and invariance can say what the
best possible system reaches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from promethios.data import competence
from promethios.data.competence import MISSING, OUTCOME_NOISE, Telemetry, outcome_probability
from promethios.data.example import Example
from promethios.evaluation.intervals import FloatArray
from promethios.ontology.decision import ESCALATE
from promethios.telemetry.state import CHANNELS, NUMBER_STEPS, Channel, GovernanceState, Reading, stale_level

TOLERANCE: Final = 1e-3
"""A probability that the generator's posterior cannot give to within this is not the generator's."""
_ROUNDING: Final = 1e-4


def ideal_probability(before: Sequence[Example], after: Sequence[Example]) -> FloatArray | None:
    """Return the exact P(escalate) of examples after a change of their telemetry [n].

    before: the same examples as they were generated. None when they are not of this generator.
    """
    if not before or not all(example.soft_label for example in before):
        return None
    stored = np.array([example.soft_label[ESCALATE] for example in before])
    below = (stored - OUTCOME_NOISE) / (1.0 - 2.0 * OUTCOME_NOISE)
    distance = np.abs(_cumulative(before) - below[:, None])
    if distance.min(axis=1).max() > TOLERANCE:
        return None
    # Where the sum is flat many demands fit a rounded probability; the middle one stands for them.
    fits = distance <= distance.min(axis=1, keepdims=True) + _ROUNDING
    places = np.arange(fits.shape[1])
    demand = np.round((fits * places).sum(axis=1) / fits.sum(axis=1)).astype(np.int64)
    return outcome_probability(_cumulative(after)[np.arange(len(after)), demand])


def _cumulative(examples: Sequence[Example]) -> FloatArray:
    """Return P(competence below each place of the grid | telemetry), [n, grid + 1]."""
    posterior = competence.posterior(_telemetry([example.state for example in examples]))
    return np.concatenate([np.zeros((len(posterior), 1)), np.cumsum(posterior, axis=1)], axis=1)


def _telemetry(states: Sequence[GovernanceState | None]) -> Telemetry:
    values = np.full((len(states), len(CHANNELS)), MISSING, np.int64)
    levels = np.zeros_like(values)
    for row, state in enumerate(states):
        for column, (channel, reading) in enumerate(state or GovernanceState()):
            if reading is not None:
                values[row, column] = _step(channel, reading)
                levels[row, column] = stale_level(channel, reading)
    absent = np.array([state is None for state in states])
    return Telemetry(values=values, levels=levels, ages=np.zeros_like(values), absent=absent)


def _step(channel: Channel, reading: Reading) -> int:
    if channel.is_number:
        return round(float(reading.value) * NUMBER_STEPS)
    return channel.values.index(str(reading.value))
