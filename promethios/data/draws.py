"""Random draws that are the same bytes on every machine.

Bits come from PCG64's raw stream (stable by NumPy's compatibility policy), keyed by SHA-256. A draw from a table
compares integers, so no result hangs on how a machine rounds a logarithm.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
T = TypeVar("T")

TABLE_TOTAL: Final = 1_000_000
"""Tables hold integer weights; a table made by `integer_weights` sums to about this."""


def uniforms(rows: int, columns: int, *key: str | int) -> FloatArray:
    """Return uniform numbers in [0, 1), shape [rows, columns], that depend on the key alone."""
    digest = hashlib.sha256("\n".join(map(str, key)).encode()).digest()
    raw = np.random.PCG64(int.from_bytes(digest[:16], "big")).random_raw(rows * columns)
    return np.asarray((raw >> np.uint64(11)) * 2.0**-53, dtype=np.float64).reshape(rows, columns)


def integer_weights(probabilities: FloatArray) -> IntArray:
    """Turn probabilities (any sum) into integer weights of at least 1; the last axis sums to about TABLE_TOTAL.

    Rounding to integers makes the table independent of the last bit of the functions that computed it.
    """
    scaled = probabilities / probabilities.sum(axis=-1, keepdims=True) * TABLE_TOTAL
    return np.asarray(np.rint(scaled) + 1, dtype=np.int64)


def draw(weights: IntArray, u: FloatArray) -> IntArray:
    """Draw one index a number of `u` [n] from integer weights: [m] shared, or [n, m] one row each."""
    cumulative = np.cumsum(weights, axis=-1)
    target = (u * cumulative[..., -1]).astype(np.int64)
    if weights.ndim == 1:
        return np.searchsorted(cumulative, target, side="right")
    return np.asarray((cumulative <= target[:, None]).sum(axis=1), dtype=np.int64)


class Picks:
    """A stream of choices for one example's wording, from a row of uniform numbers."""

    def __init__(self, row: Sequence[float]) -> None:
        self._numbers = iter(row)

    def of(self, options: Sequence[T]) -> T:
        """Return one of the options. Raises StopIteration when the row is used up (a defect: widen it)."""
        return options[int(next(self._numbers) * len(options))]

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return next(self._numbers) < probability

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return the items in a random order."""
        return [item for _, _, item in sorted((next(self._numbers), i, item) for i, item in enumerate(items))]
