"""What the hub forgets: a settled review's words after the retention time, and telemetry of sessions that are over.

The review keeps its facts: decision, scores, action, times.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from promethios_hub import metrics
from promethios_hub.tables import reviews
from promethios_hub.telemetry import TelemetryStore

_INTERVAL_S: Final = 3600.0
_SESSION_IS_OVER: Final = timedelta(days=1)
"""Long after every channel is stale."""
_log: Final = logging.getLogger("promethios.hub.retention")


async def forget(engine: AsyncEngine, days: int, now: datetime) -> int:
    """Remove the words of reviews that were settled more than `days` days before `now`; returns how many."""
    old = (
        update(reviews)
        .where(reviews.c.decided_at < now - timedelta(days=days), reviews.c.forgotten.is_(False))
        .values(forgotten=True, messages=[], question="", response=None, final_response=None, subject={})
    )
    async with engine.begin() as connection:
        return (await connection.execute(old)).rowcount


async def keep_forgetting(engine: AsyncEngine, days: int) -> None:
    """Forget every hour, for ever. days: the retention time; 0 keeps what reviews say."""
    while True:
        now = datetime.now(UTC)
        try:
            await TelemetryStore(engine).forget_before(now - _SESSION_IS_OVER)
            forgotten = await forget(engine, days, now) if days else 0
        except (SQLAlchemyError, OSError) as error:
            _log.error("retention waits for the database: %s", type(error).__name__)
        else:
            metrics.FORGOTTEN_REVIEWS.inc(forgotten)
            if forgotten:
                _log.info("content of %d reviews removed: settled more than %d days ago", forgotten, days)
        await asyncio.sleep(_INTERVAL_S)
