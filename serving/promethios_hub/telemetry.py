"""The newest telemetry of every subject: written by those who measure, read by engines that ask what is new."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import JSON, func, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from promethios_hub.tables import telemetry

_PAGE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Reading:
    """One channel's value and when it was measured."""

    channel: str
    value: Any
    at: datetime


class TelemetryStore:
    """The readings in the database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def write(self, subject: Mapping[str, str | None], readings: Iterable[Reading]) -> int:
        """Keep readings of a subject that are newer than what is known; returns how many came."""
        insert = (postgresql if self._engine.dialect.name == "postgresql" else sqlite).insert(telemetry)
        upsert = insert.on_conflict_do_update(
            index_elements=["tenant", "agent", "session", "channel"],
            set_={name: insert.excluded[name] for name in ("value", "at", "changed")},
            where=insert.excluded["at"] >= telemetry.c.at,
        )
        who = _key(subject)
        async with self._writing() as (connection, now):
            changed = _number(now)
            rows = [{**who, "channel": r.channel, "value": r.value, "at": r.at, "changed": changed} for r in readings]
            await connection.execute(upsert, rows)
        return len(rows)

    async def withdraw(self, subject: Mapping[str, str | None], channels: Collection[str] = ()) -> int:
        """Take back what was said of a subject, in these channels or in all; returns how many readings that were.

        A row without a value stays, so that engines hear of it and an older reading does not come back.
        """
        said = [telemetry.c[name] == part for name, part in _key(subject).items()]
        said += [telemetry.c.channel.in_(channels)] if channels else []
        async with self._writing() as (connection, now):
            mine = select(telemetry.c.channel, telemetry.c.value).where(*said)
            known = [row.channel for row in await connection.execute(mine) if row.value is not None]
            taken = telemetry.update().where(*said, telemetry.c.channel.in_(known))
            await connection.execute(taken.values(value=JSON.NULL, at=now, changed=_number(now)))
        return len(known)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[tuple[AsyncConnection, datetime]]:
        """A transaction, and its time: after what had to be waited for, which may be longer than engines look back."""
        async with self._engine.begin() as connection:
            if self._engine.dialect.name == "sqlite":
                await connection.execute(text("BEGIN IMMEDIATE"))  # SQLite waits for other writers here
            yield connection, datetime.now(UTC)

    async def changes(self, after: int, tenant: str | None = None) -> tuple[int, list[dict[str, Any]]]:
        """Return the cursor to ask with next time, and the subjects that changed since `after` with their readings.

        A reading that was withdrawn has the value None. The cursor lies a little back, so that a write that is just
        being committed is not missed; engines get some readings twice, which changes nothing. tenant: only this one's,
        and what is about everybody.
        """
        found = select(telemetry).where(telemetry.c.changed > after).order_by(telemetry.c.changed).limit(_PAGE)
        if tenant is not None:
            found = found.where(telemetry.c.tenant.in_(("", tenant)))
        async with self._engine.connect() as connection:
            rows = list(await connection.execute(found))
        subjects: dict[tuple[str, str, str], dict[str, Any]] = {}
        for row in rows:
            readings = subjects.setdefault((row.tenant, row.agent, row.session), {})
            readings[row.channel] = {"value": row.value, "at": row.at.isoformat()}
        data = [
            {
                "subject": dict(zip(("tenant", "agent", "session"), (part or None for part in who), strict=True)),
                "telemetry": readings,
            }
            for who, readings in subjects.items()
        ]
        if len(rows) == _PAGE:
            return rows[-1].changed - 1, data
        settled = int((datetime.now(UTC).timestamp() - _SETTLE_S) * 1e6)
        return max(after, min(rows[-1].changed if rows else after, settled)), data

    async def forget_before(self, before: datetime) -> int:
        """Remove sessions' readings that are older than a time; returns how many."""
        old = telemetry.delete().where(telemetry.c.at < before, func.length(telemetry.c.session) > 0)
        async with self._engine.begin() as connection:
            return (await connection.execute(old)).rowcount


def _key(subject: Mapping[str, str | None]) -> dict[str, str]:
    return {name: subject.get(name) or "" for name in ("tenant", "agent", "session")}


def _number(now: datetime) -> int:
    return int(now.timestamp() * 1e6)


_SETTLE_S: Final = 10.0
"""Longer than a write takes from its number to its commit."""
