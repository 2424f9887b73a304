"""Gathers batches that arrive at the same time into one transaction: many engines cost one commit, not one each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from sqlalchemy.exc import SQLAlchemyError

_Batch = TypeVar("_Batch")
_Result = TypeVar("_Result")
_MOST = 100
"""Batches of one transaction."""


class Gathered(Generic[_Batch, _Result]):
    """Calls `write` with all batches that came while its last call was under way."""

    def __init__(self, write: Callable[[Sequence[_Batch]], Awaitable[Sequence[_Result]]]) -> None:
        self._write = write
        self._waiting: list[tuple[_Batch, asyncio.Future[_Result]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def add(self, batch: _Batch) -> _Result:
        """Write a batch; returns its result once it is committed. Raises what `write` raises for it."""
        done: asyncio.Future[_Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((batch, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        return await done

    async def _write_all(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
            try:
                await self._write_group(group)
            finally:
                for _, done in group:
                    done.cancel()  # changes nothing where there is a result

    async def _write_group(self, group: list[tuple[_Batch, asyncio.Future[_Result]]]) -> None:
        try:
            results = await self._write([batch for batch, _ in group])
        except (SQLAlchemyError, OSError) as error:
            if len(group) == 1:
                if not group[0][1].done():
                    group[0][1].set_exception(error)
                return
            for one in group:  # one that cannot be stored must not take the others with it
                await self._write_group([one])
            return
        for (_, done), result in zip(group, results, strict=True):
            if not done.done():
                done.set_result(result)
