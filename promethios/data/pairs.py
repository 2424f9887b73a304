"""Pairs: two requests that differ in one thing, and what should follow from it.

    stale_channel   same text, same readings; only *which* channel is stale differs, and with it the decision
    text_cue        same telemetry, same text but for one cue that is there, or said not to be; the decision differs
    spoof           the second member's text holds an attack; nothing else differs, labels included
    bias            the group that is brought into play is exchanged for another of its category; labels are equal

Pairs are chosen by what is observable, and both posteriors are exact; the outcomes of the first two kinds are drawn
from them. Where the decision differs, the posteriors lie MARGIN or more on either side of the threshold that decides,
so `decision`, what an ideal reader would decide, is what a pair is judged by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from promethios.data.causes import TEXT_CAUSES, UNCERTAINTY, TextCauses
from promethios.data.competence import COLUMN, MISSING, VIEWS, stale_levels
from promethios.data.draws import BoolArray, FloatArray, IntArray
from promethios.data.mixture import Candidates, Split

MARGIN: Final = 0.15

_NO_CELL: Final = -1
_INDEX: Final = {causes: index for index, causes in enumerate(TEXT_CAUSES)}
_BIAS: Final = np.array([causes.bias for causes in TEXT_CAUSES])


def _without(causes: TextCauses, cause: int) -> int:
    if cause not in causes.uncertainty:
        return _NO_CELL
    rest = tuple(other for other in causes.uncertainty if other != cause)
    return _INDEX[TextCauses(causes.difficulty, rest, causes.affect, causes.bias, causes.tool)]


_WITHOUT: Final = np.array([[_without(causes, cause) for cause in range(len(UNCERTAINTY))] for causes in TEXT_CAUSES])
"""Index of the same causes without one of UNCERTAINTY, [text causes, uncertainty]; -1 where it is not active."""
_COUNT: Final = (_WITHOUT != _NO_CELL).sum(axis=1)
_ACTIVE: Final = np.argsort(_WITHOUT == _NO_CELL, axis=1, kind="stable")
"""The active causes of each text cause first, [text causes, uncertainty]."""


def draw_pairs(split: Split, kind: str, count: int, *, only_escalating: bool = False) -> tuple[Candidates, Candidates]:
    """Return `count` pairs of one of PAIR_KINDS: all first members, and their second ones.

    only_escalating: take only requests that clearly escalate (for spoof: an attack has something to gain there).
    """
    arrange, cells = _ARRANGEMENTS[kind]
    quota = np.bincount(np.arange(count) % cells, minlength=cells)

    def arranged(candidates: Candidates) -> tuple[tuple[Candidates, ...], IntArray]:
        first, second, cell = arrange(split, candidates)
        if only_escalating:
            cell = np.where(split.margin(first) >= MARGIN, cell, _NO_CELL)
        return (first, second), cell

    first, second = split.gather(quota, arranged)
    return first, second


def removed_cause(first: int, second: int) -> int:
    """Return the cause (index into UNCERTAINTY) that the first text causes have and the second lack."""
    return int(np.flatnonzero(_WITHOUT[first] == second)[0])


_Arranged = tuple[Candidates, Candidates, IntArray]


def _stale_channel(split: Split, candidates: Candidates) -> _Arranged:
    """Cell 0: two channels exist such that the decision hangs on which of them is stale."""
    level = stale_levels(candidates.spare[:, 1])
    margins = np.empty((len(VIEWS), len(candidates)))
    usable = np.empty(margins.shape, dtype=np.bool_)
    for view, name in enumerate(VIEWS):
        telemetry = candidates.telemetry.with_one_stale(np.full(len(candidates), view), level)
        margins[view] = split.margin(split.twin(candidates, telemetry=telemetry))
        usable[view] = (telemetry.values[:, COLUMN[name]] != MISSING) & ~telemetry.degraded() & split.takes(telemetry)
    lowest = np.where(usable, margins, np.inf).argmin(axis=0)
    highest = np.where(usable, margins, -np.inf).argmax(axis=0)
    every = np.arange(len(candidates))
    rows = np.flatnonzero(usable.any(axis=0) & _differ(margins[highest, every], margins[lowest, every]))
    # The order is that of the channels, so that a member's letter says nothing about its decision.
    stale = np.sort([lowest[rows], highest[rows]], axis=0)
    chosen = candidates[rows]
    first, second = (split.twin(chosen, telemetry=chosen.telemetry.with_one_stale(view, level[rows])) for view in stale)
    return first, second, np.zeros(len(rows), dtype=np.int64)


def _text_cue(split: Split, candidates: Candidates) -> _Arranged:
    """Cell: the cause that is taken away, where the decision hangs on it."""
    chosen = candidates[_COUNT[candidates.causes] > 0]
    which = (chosen.spare[:, 1] * _COUNT[chosen.causes]).astype(np.int64)
    cause = _ACTIVE[chosen.causes, which]
    first, second = split.twin(chosen), split.twin(chosen, causes=_WITHOUT[chosen.causes, cause])
    return first, second, np.where(_differ(split.margin(first), split.margin(second)), cause, _NO_CELL)


def _same(_: Split, candidates: Candidates) -> _Arranged:
    return candidates, candidates, np.zeros(len(candidates), dtype=np.int64)


def _bias(_: Split, candidates: Candidates) -> _Arranged:
    return candidates, candidates, np.where(_BIAS[candidates.causes], 0, _NO_CELL)


_ARRANGEMENTS: Final[dict[str, tuple[Callable[[Split, Candidates], _Arranged], int]]] = {
    "stale_channel": (_stale_channel, 1),
    "text_cue": (_text_cue, len(UNCERTAINTY)),
    "spoof": (_same, 1),
    "bias": (_bias, 1),
}
"""How pairs of each kind are made, and among how many cells they are divided evenly."""


def _differ(higher: FloatArray, lower: FloatArray) -> BoolArray:
    return (higher >= MARGIN) & (lower <= -MARGIN)
