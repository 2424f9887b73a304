"""What an outside receiver sees of settled reviews."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from promethios.errors import ConfigError
from promethios_hub import webhooks
from promethios_hub.database import database_url as parsed_url
from promethios_hub.database import migrate, open_database
from promethios_hub.records import Record
from promethios_hub.reviews import Decision, ReviewStore
from promethios_hub.tables import webhook_deliveries
from promethios_hub.webhooks import WebhookSender, signature
from tests.hub.documents import review_record

KEY = b"promethios-test-secret-of-32-byte"
SECRET = "whsec_" + base64.b64encode(KEY).decode()


class Receiver:
    """Answers with the given status codes in turn, then with 200; keeps what it was told."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = list(statuses)
        self.requests: list[tuple[dict[str, str], bytes]] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((dict(request.headers), await request.read()))
        return web.Response(status=self._statuses.pop(0) if self._statuses else 200)


async def deliver(url: str, receiver: Receiver, *, rounds: int) -> int:
    """Settle one review, deliver what is due `rounds` times, an hour apart; returns how many deliveries are left."""
    app = web.Application()
    app.router.add_post("/hook", receiver.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    engine = open_database(parsed_url(url))
    try:
        await migrate(engine)
        store = ReviewStore(engine)
        await store.add([Record.model_validate_json(json.dumps(review_record(0))).row(redact=False)])
        decision = Decision(action="override", decision="caveat", response="Secret words.")
        await store.decide("gov-000000000000", decision, "ann", 1)
        sender = WebhookSender(engine, f"http://127.0.0.1:{runner.addresses[0][1]}/hook", SECRET)
        async with aiohttp.ClientSession() as session:
            for _ in range(rounds):
                await sender.deliver_due(session)
                assert await sender.deliver_due(session) == 0, "what has failed is not due at once"
                await pass_an_hour(engine)
        async with engine.connect() as connection:
            left = (await connection.execute(select(func.count()).select_from(webhook_deliveries))).scalar_one()
            return int(left)
    finally:
        await engine.dispose()
        await runner.cleanup()


async def pass_an_hour(engine: AsyncEngine) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    async with engine.begin() as connection:
        await connection.execute(update(webhook_deliveries).values(next_attempt_at=past))


def test_a_delivery_is_signed_as_standard_webhooks_says_and_tells_no_words(database_url: str) -> None:
    receiver = Receiver()
    assert asyncio.run(deliver(database_url, receiver, rounds=1)) == 0
    headers, body = receiver.requests[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-id"] == "gov-000000000000"
    assert b'"action": "override"' in body and b"Secret" not in body and b"Question" not in body


@pytest.mark.parametrize(("rounds", "left"), [(3, 1), (4, 0), (6, 0)])
def test_a_delivery_that_fails_comes_again_with_the_same_id_until_it_is_taken(
    database_url: str, rounds: int, left: int
) -> None:
    receiver = Receiver(500, 301, 404)
    assert asyncio.run(deliver(database_url, receiver, rounds=rounds)) == left
    assert len(receiver.requests) == min(rounds, 4)
    assert {headers["webhook-id"] for headers, _ in receiver.requests} == {"gov-000000000000"}


@pytest.mark.parametrize("attempts", [40, 1024, 10**6])
def test_however_often_a_delivery_failed_the_wait_is_the_longest(attempts: int) -> None:
    assert webhooks._delay(attempts) == webhooks._LONGEST_DELAY_S > webhooks._delay(0)


def test_the_signature_is_that_of_the_specifications_example() -> None:
    # https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    found = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_that_cannot_sign_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="PROMETHIOS_HUB_WEBHOOK_SECRET"):
        WebhookSender(open_database(parsed_url("sqlite://")), "http://127.0.0.1", "not base64!")
