"""How the review work goes: counts a day, what is open, how often reviewers agree with the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Date, String, case, cast, func, select, true
from sqlalchemy.ext.asyncio import AsyncEngine

from promethios_hub.tables import reviews

_AGES: Final = (("under 10 min", 10), ("10 to 60 min", 60), ("1 to 8 h", 480), ("8 to 24 h", 1440))
_OLDER: Final = "over 24 h"


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day (UTC, ISO date): reviews that arrived, reviews that were decided."""

    date: str
    arrived: int
    done: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewStatistics:
    """The state of the review work.

    days: oldest first, without gaps. open_by_domain: domain -> open reviews. open_by_age: (label, count).
    agreement: model decision -> (approved or edited, decided). median_minutes: from arrival to decision, None if none.
    """

    days: list[Day]
    waiting: int
    assigned: int
    open_by_domain: dict[str, int]
    open_by_age: list[tuple[str, int]]
    agreement: dict[str, tuple[int, int]]
    median_minutes: float | None
    oldest_waiting_s: float | None


async def review_statistics(engine: AsyncEngine, days: int = 14, tenant: str | None = None) -> ReviewStatistics:
    """Count the work of the last `days` days (UTC), today included. tenant: only this one's."""
    now = datetime.now(UTC)
    first = (now - timedelta(days=days - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    is_open = reviews.c.state != "done"
    theirs = true() if tenant is None else reviews.c.tenant == tenant
    async with engine.connect() as connection:

        async def counted(column: ColumnElement[Any], *wanted: ColumnElement[bool]) -> dict[Any, int]:
            query = select(column, func.count()).where(theirs, *wanted).group_by(column)
            return {row[0]: row[1] for row in await connection.execute(query)}

        arrived = await counted(_date(engine, reviews.c.arrived_at), reviews.c.arrived_at >= first)
        done = await counted(_date(engine, reviews.c.decided_at), reviews.c.decided_at >= first)
        states = await counted(reviews.c.state, is_open)
        domains = await counted(func.coalesce(reviews.c.domain, ""), is_open)
        ages = await counted(_age_label(now), is_open)
        decided = await connection.execute(
            select(reviews.c.decision, reviews.c.action, func.count())
            .where(theirs, reviews.c.decided_at >= first, reviews.c.state == "done")
            .group_by(reviews.c.decision, reviews.c.action)
        )
        agreement = _agreement([tuple(row) for row in decided])
        recent = await connection.execute(
            select(reviews.c.arrived_at, reviews.c.decided_at)
            .where(theirs, reviews.c.decided_at >= first)
            .order_by(reviews.c.decided_at.desc())
            .limit(2001)
        )
        minutes = sorted((end - start).total_seconds() / 60 for start, end in recent)
        first_open = select(func.min(reviews.c.arrived_at)).where(theirs, is_open)
        oldest = (await connection.execute(first_open)).scalar_one()
    dates = [(first + timedelta(days=day)).date().isoformat() for day in range(days)]
    return ReviewStatistics(
        days=[Day(date=date, arrived=arrived.get(date, 0), done=done.get(date, 0)) for date in dates],
        waiting=states.get("waiting", 0),
        assigned=states.get("assigned", 0),
        open_by_domain=dict(sorted(domains.items())),
        open_by_age=[(label, ages.get(label, 0)) for label, _ in _AGES] + [(_OLDER, ages.get(_OLDER, 0))],
        agreement=agreement,
        median_minutes=minutes[len(minutes) // 2] if minutes else None,
        oldest_waiting_s=None if oldest is None else (now - oldest).total_seconds(),
    )


def _date(engine: AsyncEngine, column: ColumnElement[Any]) -> ColumnElement[str]:
    if engine.dialect.name == "postgresql":
        return cast(cast(func.timezone("UTC", column), Date), String)  # faster than to_char
    return func.strftime("%Y-%m-%d", column)


def _age_label(now: datetime) -> ColumnElement[str]:
    whens = [(reviews.c.arrived_at > now - timedelta(minutes=minutes), label) for label, minutes in _AGES]
    return case(*whens, else_=_OLDER)


def _agreement(counts: Sequence[tuple[Any, ...]]) -> dict[str, tuple[int, int]]:
    agreement: dict[str, tuple[int, int]] = {}
    for decision, action, count in counts:
        agreed, total = agreement.get(decision, (0, 0))
        agreement[decision] = (agreed + (count if action in ("approve", "edit") else 0), total + count)
    return agreement
