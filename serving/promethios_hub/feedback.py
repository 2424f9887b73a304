"""Settled reviews as records that `promethios feedback export` turns into training data."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from promethios_hub.tables import reviews


async def feedback_records(engine: AsyncEngine, after: int, limit: int) -> AsyncIterator[bytes]:
    """Yield settled reviews with their texts, oldest first, as JSON lines in the form of promethios/data/feedback.py."""
    settled = (
        select(reviews)
        .where(
            reviews.c.state == "done",
            reviews.c.forgotten.is_(False),
            reviews.c.response.is_not(None),
            reviews.c.number > after,
        )
        .order_by(reviews.c.number)
        .limit(limit)
    )
    async with engine.connect() as connection, connection.stream(settled) as rows:
        async for row in rows:
            yield json.dumps(feedback_record(row)).encode() + b"\n"


def feedback_record(row: Any) -> dict[str, Any]:
    """Return one record; an answer whose response never arrived (the engine died while speaking) is none."""
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
