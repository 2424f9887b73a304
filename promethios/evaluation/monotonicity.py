"""Monotonicity: news that the deployment is more competent must not make it hand over more.

For every example with a fresh reading of trust, verify or bound that has room, one such channel (chosen at random)
reads RAISE more; nothing else changes. A violation is a P(escalate) that rises by more than TOLERANCE. Attest is not
raised: it says how far the other readings can be believed, so more of it may rightly make low readings count more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from promethios.data.example import Example
from promethios.evaluation.intervals import Estimate, FloatArray, Resamples
from promethios.evaluation.variation import Variation, readings, values_of, with_value

RAISE: Final = 0.2
TOLERANCE: Final = 0.02


def with_a_channel_raised(examples: Sequence[Example], rng: np.random.Generator) -> Variation:
    """Return every example that has a fresh reading with room for RAISE, one such reading raised."""
    changed = {}
    for row, example in enumerate(examples):
        fresh = readings(example.state, lambda reading, level: not level and float(reading.value) <= 1.0 - RAISE)
        if fresh:
            channel = fresh[rng.integers(len(fresh))]
            changed[row] = with_value(example, channel, values_of([example], channel)[0] + RAISE)
    return Variation.of(changed)


def monotonicity_measures(before: FloatArray, after: FloatArray, resamples: Resamples) -> dict[str, Estimate]:
    """Return the share of violations and the mean change of P(escalate), before and after raising a channel [m]."""
    change = after - before
    return {
        "violations": resamples.estimate(resamples.mean(change > TOLERANCE)),
        "mean_change": resamples.estimate(resamples.mean(change)),
    }
