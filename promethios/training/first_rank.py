"""Do something once for all ranks of a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import distributed

from promethios.errors import PromethiosError

_T = TypeVar("_T")


def on_first_rank(action: Callable[[], _T]) -> _T:
    """Run `action` on the first rank and return its result on every rank; what it raises is raised on every rank.

    The process group has to be there; the result has to be picklable.
    """
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return action()
    outcome: list[tuple[_T | None, PromethiosError | None] | None] = [None]
    if distributed.get_rank() == 0:
        try:
            outcome = [(action(), None)]
        except PromethiosError as error:
            outcome = [(None, error)]
    distributed.broadcast_object_list(outcome, src=0)
    assert outcome[0] is not None
    result, failure = outcome[0]
    if failure is not None:
        raise failure
    return result  # type: ignore[return-value]
