from __future__ import annotations

import asyncio
from typing import Any

from promethios_serving.access.caller import Caller, Quota, TenantPolicy
from promethios_serving.access.quotas import Bucket, Quotas
from promethios_serving.request_context import CURRENT, GovernedRequest


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Client:
    """Sends requests of a tenant's keys through the middleware to an application that spends tokens."""

    def __init__(self, **quota: int) -> None:
        self.clock = Clock()
        self.tokens = 0
        self.entered = asyncio.Event()
        self.leave = asyncio.Event()
        self.leave.set()
        self.quotas = Quotas(self._answer, self.clock)
        self.policy = TenantPolicy(quota=Quota(**quota))

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        request = CURRENT.get()
        assert request is not None
        request.tokens = self.tokens
        self.entered.set()
        await self.leave.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask(self, key: str = "app", **quota: int) -> tuple[int, dict[str, str]]:
        caller = Caller(key_id=key, tenant="acme", policy=self.policy, quota=Quota(**quota))
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        token = CURRENT.set(GovernedRequest(route="/v1/completions", caller=caller))
        try:
            await self.quotas({"type": "http"}, None, send)  # type: ignore[arg-type]
        finally:
            CURRENT.reset(token)
        return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def test_a_bucket_refills_evenly_and_never_above_its_limit() -> None:
    bucket = Bucket(60, now=0)
    bucket.take(60, now=0)
    assert bucket.level(now=30) == 30
    assert bucket.seconds_until(60, now=30) == 30
    assert bucket.level(now=1000) == 60


def test_requests_above_the_quota_wait_as_long_as_they_are_told() -> None:
    async def run() -> None:
        client = Client(requests_per_minute=2)
        assert [(await client.ask())[0] for _ in range(3)] == [200, 200, 429]
        _, headers = await client.ask()
        client.clock.now += float(headers["retry-after"])
        status, headers = await client.ask()
        assert (status, headers["x-ratelimit-limit-requests"]) == (200, "2")

    asyncio.run(run())


def test_tokens_are_paid_afterwards_and_refuse_the_next_request() -> None:
    async def run() -> None:
        client = Client(tokens_per_minute=100)
        client.tokens = 160
        assert (await client.ask())[0] == 200
        status, headers = await client.ask()
        assert status == 429
        client.clock.now += float(headers["retry-after"]) + 1
        assert (await client.ask())[0] == 200

    asyncio.run(run())


def test_requests_at_the_same_time_are_limited_and_a_finished_one_makes_room() -> None:
    async def run() -> None:
        client = Client(concurrent_requests=1)
        client.leave.clear()
        first = asyncio.create_task(client.ask())
        await client.entered.wait()
        assert (await client.ask())[0] == 429
        client.leave.set()
        assert (await first)[0] == 200
        assert (await client.ask())[0] == 200

    asyncio.run(run())


def test_a_key_without_quotas_has_no_headers_of_them() -> None:
    assert asyncio.run(Client().ask()) == (200, {})


def test_a_tenant_s_keys_share_its_quota() -> None:
    async def run() -> None:
        client = Client(requests_per_minute=2)
        assert [(await client.ask(key))[0] for key in ("app", "batch", "app", "batch")] == [200, 200, 429, 429]

    asyncio.run(run())


def test_a_key_s_own_quota_holds_beside_its_tenant_s_and_the_tighter_one_is_shown() -> None:
    async def run() -> None:
        client = Client(requests_per_minute=3)
        status, headers = await client.ask("narrow", requests_per_minute=1)
        assert (status, headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == (
            200,
            "1",
            "0",
        )
        assert (await client.ask("narrow", requests_per_minute=1))[0] == 429
        assert [(await client.ask())[0] for _ in range(3)] == [200, 200, 429]  # the refused one cost its tenant nothing

    asyncio.run(run())
