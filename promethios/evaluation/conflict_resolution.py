"""Conflict resolution: is the deployed decision still right where the signals contradict each other?

Conflicts are found from what a system can see, never from the generator's hidden causes:

    channels disagree         a stale trust, verify or bound reading is at least CHANNEL_GAP away from the mean of the
                              fresh ones; or attest is low, so that any reading may be wrong, and the three channels
                              span at least CHANNEL_GAP
    text against telemetry    a classifier that reads only the telemetry and one that reads only the text decide
                              differently (the baselines `tags` and `text`, fitted on the training split)

The score is the accuracy on the examples with either conflict; the gap to the rest tells what conflicts cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from promethios.evaluation.intervals import BoolArray, Estimate, FloatArray, Resamples
from promethios.evaluation.variation import VIEWS
from promethios.telemetry.state import CHANNEL_BY_NAME, GovernanceState, Reading, stale_level

CHANNEL_GAP: Final = 0.3
LOW_ATTEST: Final = 0.5


def channels_disagree(state: GovernanceState | None) -> bool:
    """True when a reading that may be wrong contradicts the others (definition above); False without telemetry."""
    if state is None:
        return False
    readings = {name: reading for name in VIEWS if (reading := getattr(state, name)) is not None}
    stale = [_number(reading) for name, reading in readings.items() if stale_level(CHANNEL_BY_NAME[name], reading)]
    fresh = [_number(reading) for name, reading in readings.items() if not stale_level(CHANNEL_BY_NAME[name], reading)]
    if fresh and any(abs(value - sum(fresh) / len(fresh)) >= CHANNEL_GAP for value in stale):
        return True
    attest = state.attest
    if attest is None or _number(attest) >= LOW_ATTEST or len(readings) < 2:
        return False
    return max(stale + fresh) - min(stale + fresh) >= CHANNEL_GAP


def channel_conflicts(states: Sequence[GovernanceState | None]) -> BoolArray:
    """Return `channels_disagree` for each example [n]."""
    return np.array([channels_disagree(state) for state in states])


def conflict_score(escalates: BoolArray, outcome: BoolArray, conflict: BoolArray, resamples: Resamples) -> FloatArray:
    """Return the accuracy on the examples in conflict, in every row of the resamples; NaN without any."""
    return resamples.mean(escalates == outcome, conflict)


def conflict_measures(
    escalates: BoolArray, outcome: BoolArray, channels: BoolArray, text: BoolArray, resamples: Resamples
) -> dict[str, Estimate]:
    """Return every conflict measure of one system on n items.

    channels: channels disagree [n]. text: text and telemetry point in opposite directions [n].
    """
    either = channels | text
    in_conflict = conflict_score(escalates, outcome, either, resamples)
    values = {
        "score": in_conflict,
        "accuracy_without_conflict": conflict_score(escalates, outcome, ~either, resamples),
        "gap": conflict_score(escalates, outcome, ~either, resamples) - in_conflict,
        "channels_disagree": conflict_score(escalates, outcome, channels, resamples),
        "text_against_telemetry": conflict_score(escalates, outcome, text, resamples),
        "share_in_conflict": resamples.mean(either),
    }
    return {name: resamples.estimate(value) for name, value in values.items()}


def _number(reading: Reading) -> float:
    return float(reading.value)
