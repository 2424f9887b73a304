"""Stale invariance: does the decision stand when only a reading that is out of date changes?

For every example with a stale reading of trust, verify or bound, one such channel (chosen at random) takes the value
that the same channel has, stale as well, in another example. Measured is the share whose decision to escalate or not
stays the same. It is not 1 for an ideal system either: a stale reading still tells a little.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from promethios.data.example import Example
from promethios.evaluation.intervals import BoolArray, Estimate, FloatArray, Resamples
from promethios.evaluation.variation import Variation, next_in_random_order, readings, values_of, with_value


def with_a_stale_value_swapped(examples: Sequence[Example], rng: np.random.Generator) -> Variation:
    """Return every example that has a stale reading, with the value of one of them swapped."""
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for row, example in enumerate(examples):
        stale = readings(example.state, lambda _, level: level > 0)
        if stale:
            rows_of[stale[rng.integers(len(stale))]].append(row)
    changed = {}
    for channel, rows in rows_of.items():
        values = values_of([examples[row] for row in rows], channel)
        for row, other in zip(rows, next_in_random_order(len(rows), rng).tolist(), strict=True):
            changed[row] = with_value(examples[row], channel, values[other])
    return Variation.of(changed)


def stale_invariance_measures(
    before: tuple[FloatArray, BoolArray], after: tuple[FloatArray, BoolArray], resamples: Resamples
) -> dict[str, Estimate]:
    """Return the share of decisions that stay and the mean |change| of P(escalate).

    before, after: probability of escalation and deployed decision to escalate, [m] each, of the same requests.
    """
    return {
        "decision_stays": resamples.estimate(resamples.mean(before[1] == after[1])),
        "mean_absolute_change": resamples.estimate(resamples.mean(np.abs(after[0] - before[0]))),
    }
