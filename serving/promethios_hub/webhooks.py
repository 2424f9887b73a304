"""Telling a webhook of settled reviews, at least once each, signed as the Standard Webhooks specification says.

A delivery is written in the transaction that settles the review, so none is lost with the process; it is removed once
the receiver has answered 2xx. What fails is repeated, later and later. Receivers drop repetitions by `webhook-id`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import logging
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from promethios.errors import ConfigError
from promethios_hub import metrics
from promethios_hub.tables import webhook_deliveries

if TYPE_CHECKING:
    from promethios_hub.reviews import StoredReview

_FIRST_DELAY_S: Final = 2.0
_LONGEST_DELAY_S: Final = 3600.0
_MAX_DOUBLINGS: Final = 20
_TIMEOUT_S: Final = 15.0
_BATCH: Final = 20
_LEASE: Final = timedelta(seconds=2 * _TIMEOUT_S)
"""For so long a delivery belongs to the hub that took it: two replicas do not deliver the same one at once."""
_log: Final = logging.getLogger("promethios.hub.webhooks")


async def enqueue(connection: AsyncConnection, review: StoredReview) -> None:
    """Leave word of a settled review, in the caller's transaction. It carries no word of the conversation."""
    payload = {
        "type": "review.decided",
        "timestamp": review.decided_at.isoformat() if review.decided_at else None,
        "data": {
            "id": review.id,
            "request_id": review.request_id,
            "tenant": review.tenant,
            "subject": dict(review.subject),
            "domain": review.domain,
            "action": review.action,
            "decision": review.final_decision,
            "reviewer": review.reviewer,
        },
    }
    row = {"review_id": review.id, "payload": payload, "attempts": 0, "next_attempt_at": datetime.now(UTC)}
    await connection.execute(insert(webhook_deliveries).values(row))


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature`: HMAC-SHA256 of id, time and body. Raises ConfigError for a bad secret."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError("PROMETHIOS_HUB_WEBHOOK_SECRET must be `whsec_` and base64") from None
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


class WebhookSender:
    """Delivers what is due; without a URL it removes it."""

    def __init__(self, engine: AsyncEngine, url: str | None, secret: str | None) -> None:
        """Raises ConfigError for a secret that cannot sign."""
        if secret is not None:
            signature(secret, "", 0, b"")
        self._engine = engine
        self._url = url
        self._secret = secret

    async def run(self, interval_s: float = 1.0) -> None:
        """Deliver for ever; a database that is away is waited for."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session:
            while True:
                try:
                    delivered = await self.deliver_due(session)
                except (SQLAlchemyError, OSError) as error:
                    _log.error("webhooks wait: %s", type(error).__name__)
                    delivered = 0
                if not delivered:
                    await asyncio.sleep(interval_s)

    async def deliver_due(self, session: aiohttp.ClientSession) -> int:
        """Deliver what is due now; returns how many were tried."""
        due = await self._take()
        # all at once: one that times out must not outlive the lease of the others
        errors = await asyncio.gather(*(self._deliver(session, row) for row in due))
        for row, error in zip(due, errors, strict=True):
            await self._settle(row, error)
        return len(due)

    async def _take(self) -> list[Any]:
        now = datetime.now(UTC)
        due = (
            select(webhook_deliveries)
            .where(webhook_deliveries.c.next_attempt_at <= now)
            .order_by(webhook_deliveries.c.number)
            .limit(_BATCH)
            .with_for_update(skip_locked=True)
        )
        async with self._engine.begin() as connection:
            rows = list(await connection.execute(due))
            if rows:
                numbers = [row.number for row in rows]
                lease = update(webhook_deliveries).where(webhook_deliveries.c.number.in_(numbers))
                await connection.execute(lease.values(next_attempt_at=now + _LEASE))
        return rows

    async def _deliver(self, session: aiohttp.ClientSession, row: Any) -> str | None:
        """Send one delivery; returns why it failed, or None."""
        if self._url is None:
            return None
        body = json.dumps(row.payload).encode()
        stamp = int(datetime.now(UTC).timestamp())
        headers = {"content-type": "application/json", "webhook-id": row.review_id, "webhook-timestamp": str(stamp)}
        if self._secret is not None:
            headers["webhook-signature"] = signature(self._secret, row.review_id, stamp, body)
        try:
            async with session.post(self._url, data=body, headers=headers, allow_redirects=False) as reply:
                return None if 200 <= reply.status < 300 else f"HTTP status {reply.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return f"{type(error).__name__}: {error}"

    async def _settle(self, row: Any, error: str | None) -> None:
        this = webhook_deliveries.c.number == row.number
        async with self._engine.begin() as connection:
            if error is None:
                await connection.execute(delete(webhook_deliveries).where(this))
                return
            metrics.WEBHOOK_FAILURES.inc()
            delay = _delay(row.attempts) * random.uniform(0.8, 1.2)
            _log.warning("review %s: the webhook failed (%s); again in %.0f s", row.review_id, error, delay)
            again = {
                "attempts": row.attempts + 1,
                "next_attempt_at": datetime.now(UTC) + timedelta(seconds=delay),
                "error": error[:500],
            }
            await connection.execute(update(webhook_deliveries).where(this).values(again))


def _delay(attempts: int) -> float:
    """Return the seconds to wait after so many failures; any number of them."""
    return min(_FIRST_DELAY_S * 2.0 ** min(attempts, _MAX_DOUBLINGS), _LONGEST_DELAY_S)
