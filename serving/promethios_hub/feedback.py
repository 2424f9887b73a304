"""Settled reviews as records that `promethios feedback export` turns into training data."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from promethios.data.feedback_records import parse_records
from promethios.errors import DatasetError
from promethios_hub.tables import reviews

_log: Final = logging.getLogger("promethios.hub.feedback")


async def feedback_records(
    engine: AsyncEngine, after: int, limit: int, tenant: str | None = None
) -> AsyncIterator[bytes]:
    """Yield settled reviews, oldest first, as JSON lines in the form of promethios/data/feedback_records.py.

    What nobody can learn from is left out: content forgotten, no user's message, or an answer that never came, as when
    an engine dies while it speaks. tenant: only this one's.
    """
    settled = (
        select(reviews)
        .where(reviews.c.state == "done", reviews.c.forgotten.is_(False), reviews.c.number > after)
        .order_by(reviews.c.number)
        .limit(limit)
    )
    if tenant is not None:
        settled = settled.where(reviews.c.tenant == tenant)
    async with engine.connect() as connection, connection.stream(settled) as rows:
        async for row in rows:
            line = json.dumps(feedback_record(row))
            try:
                parse_records([line], row.id)
            except DatasetError:
                _log.info("review %s is no training data", row.id)  # why would quote its words
                continue
            yield line.encode() + b"\n"


def feedback_record(row: Any) -> dict[str, Any]:
    """Return the record of a settled review."""
    return {
        "id": row.id,
        "time": row.asked_at.isoformat(),
        "messages": row.messages,
        "governance": {"state": row.governance_state, "domain": row.domain},
        "decision": row.decision,
        "probability": row.probability,
        "threshold": row.threshold,
        "response": row.response,
        "reviewed_because": row.reviewed_because,
        "propensity": row.propensity,
        "review": {
            "action": row.action,
            "decision": row.final_decision,
            "response": row.final_response,
            "reviewer": row.reviewer,
            "time": row.decided_at.isoformat(),
        },
    }
