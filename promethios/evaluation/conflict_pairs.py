"""Conflict pairs: two requests that differ in one thing on which the decision hangs. Are both decided right?

    stale_channel   same text, same readings; only which channel is stale differs
    text_cue        same telemetry, same text but for one cue that is there, or said not to be

Right is what an ideal reader decides (`decision`, from the generator's own posterior, which is clear on both sides), so
no luck of a noisy outcome is in it. A system that overlooks what differs gets one member right and the other wrong: its
accuracy is one half and its pair accuracy 0. The model and the best baseline are compared pair by pair with McNemar's
test (1947) in its exact form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from promethios.evaluation.decisions import System
from promethios.evaluation.evaluation_data import Pair
from promethios.evaluation.intervals import BoolArray, Resamples


@dataclass(frozen=True, slots=True)
class McNemar:
    """How two systems differ on the same pairs: only the first right, only the second right, two-sided p-value."""

    only_first: int
    only_second: int
    p_value: float


def mcnemar(first: BoolArray, second: BoolArray) -> McNemar:
    """Return the exact McNemar test of two systems' right answers [n] on the same items."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    p_value = 2.0 * float(special.bdtr(min(only_first, only_second), discordant, 0.5)) if discordant else 1.0
    return McNemar(only_first, only_second, min(1.0, p_value))


def conflict_pair_measures(
    pairs: Sequence[Pair], model: System, baselines: Mapping[str, System], seed: int
) -> dict[str, Any]:
    """Return accuracy and pair accuracy of the model, in all and by kind, and how the best baseline compares.

    model, baselines: their decisions on the members, a, b, a, b, ... [2 * pairs].
    """
    truth = np.array([[member.decision == "escalate" for member in pair] for pair in pairs])
    kinds = np.array([pair[0].pair.kind if pair[0].pair else "" for pair in pairs])
    resamples = Resamples([pair[0].family or pair[0].id for pair in pairs], seed=seed)

    def right(system: System) -> BoolArray:
        return np.asarray(system.escalates.reshape(-1, 2) == truth)

    of_model = right(model)
    both = _both(of_model)
    of_baselines = {key: _both(right(baseline)) for key, baseline in baselines.items()}
    best = max(of_baselines, key=lambda key: of_baselines[key].mean())
    test = mcnemar(both, of_baselines[best])
    return {
        "num_pairs": len(pairs),
        "accuracy": resamples.estimate(resamples.mean(of_model.mean(axis=1))),
        "pair_accuracy": resamples.estimate(resamples.mean(both)),
        "by_kind": {
            kind: {
                "num_pairs": int(of_kind.sum()),
                "accuracy": resamples.estimate(resamples.mean(of_model.mean(axis=1), of_kind)),
                "pair_accuracy": resamples.estimate(resamples.mean(both, of_kind)),
            }
            for kind in sorted(set(kinds.tolist()))
            for of_kind in [kinds == kind]
        },
        "best_baseline": {
            "key": best,
            "title": baselines[best].title,
            "pair_accuracy": resamples.estimate(resamples.mean(of_baselines[best])),
            "gain": resamples.estimate(resamples.mean(both) - resamples.mean(of_baselines[best])),
            "only_model_right": test.only_first,
            "only_baseline_right": test.only_second,
            "p_value": test.p_value,
        },
    }


def _both(right: BoolArray) -> BoolArray:
    return np.asarray(right.all(axis=1))
