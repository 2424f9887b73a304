"""Telemetry as a numeric vector, for the baselines that read no text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from promethios.data.example import Example
from promethios.evaluation.intervals import FloatArray
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.state import CHANNELS, MAX_STALE_LEVEL, Channel, GovernanceState, Reading, stale_level

MIDDLE: Final = 0.5
"""What stands in for a missing number; a flag beside it says that it is missing."""


def tag_features(examples: Sequence[Example]) -> FloatArray:
    """Return [n, features]: per channel value (or one column a word), missing flag and stale level; required trust."""
    return np.array([_features(example) for example in examples])


def _features(example: Example) -> list[float]:
    state = example.state or GovernanceState()
    row = [float(example.state is None)]
    for channel in CHANNELS:
        row += _channel_features(channel, getattr(state, channel.name))
    domain = example.header_domain
    required = MIDDLE if domain is None else load_ontology().domain(domain).required_trust
    return [*row, required, float(domain is None)]


def _channel_features(channel: Channel, reading: Reading | None) -> list[float]:
    if reading is None:
        values = [MIDDLE] if channel.is_number else [0.0] * len(channel.values)
        return [*values, 1.0, 0.0]
    words = [float(reading.value == word) for word in channel.values]
    values = words or [float(reading.value)]
    return [*values, 0.0, stale_level(channel, reading) / MAX_STALE_LEVEL]
