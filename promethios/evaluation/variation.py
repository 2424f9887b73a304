"""The same requests with one thing changed: what invariance, monotonicity and ablation measures compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from promethios.data.example import Example
from promethios.telemetry.state import CHANNEL_BY_NAME, GovernanceState, Reading, stale_level

VIEWS: Final = ("trust", "verify", "bound")
"""The numbers that say how competent the deployment is now; attest speaks of the telemetry itself."""


@dataclass(frozen=True)
class Variation:
    """Changed examples [m] and the rows of the set [n] that they were made from, ascending and each at most once."""

    rows: npt.NDArray[np.int64]
    examples: list[Example]

    @classmethod
    def of(cls, changed: dict[int, Example]) -> Variation:
        """Build it from row -> changed example."""
        rows = sorted(changed)
        return cls(np.array(rows, np.int64), [changed[row] for row in rows])


def readings(state: GovernanceState | None, is_wanted: Callable[[Reading, int], bool]) -> list[str]:
    """Return the names among VIEWS whose reading (with its stale level) is wanted; none without telemetry."""
    if state is None:
        return []
    found = {name: reading for name in VIEWS if (reading := getattr(state, name)) is not None}
    return [name for name, reading in found.items() if is_wanted(reading, stale_level(CHANNEL_BY_NAME[name], reading))]


def with_value(example: Example, channel: str, value: float) -> Example:
    """Return the example with another value of one channel that its telemetry has, of the same age."""
    assert example.state is not None, "a channel of no telemetry cannot be changed"
    age_s = getattr(example.state, channel).age_s
    return replace(example, state=replace(example.state, **{channel: Reading(value, age_s)}))


def next_in_random_order(num: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return for each of `num` items another one, by a random cycle through all of them: [num]."""
    order = rng.permutation(num)
    following = np.empty(num, np.int64)
    following[order] = np.roll(order, -1)
    return following


def values_of(examples: Sequence[Example], channel: str) -> list[float]:
    """Return the value of one channel in each example's telemetry, which has it."""
    return [float(getattr(example.state, channel).value) for example in examples]
