"""Quotas of tenants and of keys: requests and tokens a minute, and requests at the same time.

Token buckets in this process: a bucket holds a minute's worth and refills evenly, so a burst up to the quota passes and
the long-run rate holds. Several replicas each count for themselves: divide a quota by their number, or let a gateway
count. Tokens are known only after the answer: a request is let in while the bucket is not empty, and pays afterwards.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promethios_serving import metrics
from promethios_serving.access.caller import Caller, Quota
from promethios_serving.openai_errors import RequestRefused, send_refusal
from promethios_serving.request_context import CURRENT

UNLIMITED: Final = Quota()
_SECONDS: Final = 60.0


class Bucket:
    """A token bucket. limit: what it holds, and what flows in a minute; 0 for one that nobody asks."""

    def __init__(self, limit: int, now: float) -> None:
        self.limit = limit
        self._level = float(limit)
        self._at = now

    def level(self, now: float) -> float:
        """Return what is in it now; below 0 when more was taken than there was."""
        flowed = max(0.0, now - self._at) * self.limit / _SECONDS
        self._level = min(float(self.limit), self._level + flowed)
        self._at = now
        return self._level

    def take(self, amount: float, now: float) -> None:
        """Take an amount, whether or not it is there."""
        self._level = self.level(now) - amount

    def seconds_until(self, level: float, now: float) -> float:
        """Return how long it takes to fill up to `level`."""
        return max(0.0, level - self.level(now)) * _SECONDS / self.limit


class Account:
    """What one tenant or one key has used of its quota."""

    def __init__(self, quota: Quota, now: float) -> None:
        self.quota = quota
        self.running = 0
        self.requests = Bucket(quota.requests_per_minute, now)
        self.tokens = Bucket(quota.tokens_per_minute, now)

    def exceeded(self, now: float) -> tuple[str, float] | None:
        """Return the limit that one more request would exceed, and for how many seconds; None when it may pass."""
        if self.quota.concurrent_requests and self.running >= self.quota.concurrent_requests:
            return "concurrent_requests", 1.0
        if self.requests.limit and self.requests.level(now) < 1:
            return "requests_per_minute", self.requests.seconds_until(1, now)
        if self.tokens.limit and self.tokens.level(now) <= 0:
            return "tokens_per_minute", self.tokens.seconds_until(1, now)
        return None


class Quotas:
    """ASGI middleware, inside GovernedRequests: 429 above a quota, and OpenAI's `x-ratelimit-*` headers."""

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = time.monotonic) -> None:
        self.app = app
        self._clock = clock
        self._accounts: dict[tuple[str, str], Account] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        request = CURRENT.get()
        accounts = [] if request is None else self._accounts_of(request.caller)
        if request is None or not accounts:
            return await self.app(scope, receive, send)
        try:
            headers = self._admit(request.caller, accounts)
        except RequestRefused as refusal:
            return await send_refusal(send, refusal)
        try:
            return await self.app(scope, receive, _with_headers(send, headers))
        finally:
            for account in accounts:
                account.running -= 1
                account.tokens.take(request.tokens, self._clock())

    def _accounts_of(self, caller: Caller) -> list[Account]:
        """Return the accounts that pay for a caller's requests: its tenant's and its key's, where they have a limit."""
        return [
            self._account(kind, name, quota)
            for kind, name, quota in (
                ("tenant", caller.tenant, caller.policy.quota),
                ("key", caller.key_id, caller.quota),
            )
            if name is not None and quota != UNLIMITED
        ]

    def _account(self, kind: str, name: str, quota: Quota) -> Account:
        account = self._accounts.get((kind, name))
        if account is None or account.quota != quota:
            account = self._accounts[kind, name] = Account(quota, self._clock())
        return account

    def _admit(self, caller: Caller, accounts: Sequence[Account]) -> list[tuple[bytes, bytes]]:
        """Let a request in; returns the headers that tell where its quotas stand. Raises RequestRefused (429)."""
        now = self._clock()
        for account in accounts:
            if exceeded := account.exceeded(now):
                raise _limited(caller, account.quota, *exceeded)
        for account in accounts:
            account.running += 1
            account.requests.take(1, now)
        headers: list[tuple[bytes, bytes]] = []
        for kind in ("requests", "tokens"):
            buckets = [bucket for account in accounts if (bucket := getattr(account, kind)).limit]
            if buckets:
                headers += _headers(kind.encode(), min(buckets, key=lambda bucket: bucket.level(now)), now)
        return headers


def _headers(kind: bytes, bucket: Bucket, now: float) -> list[tuple[bytes, bytes]]:
    remaining = max(0, math.floor(bucket.level(now)))
    return [
        (b"x-ratelimit-limit-" + kind, str(bucket.limit).encode()),
        (b"x-ratelimit-remaining-" + kind, str(remaining).encode()),
        (b"x-ratelimit-reset-" + kind, f"{bucket.seconds_until(bucket.limit, now):.0f}s".encode()),
    ]


def _limited(caller: Caller, quota: Quota, limit: str, seconds: float) -> RequestRefused:
    metrics.RATE_LIMITED_REQUESTS.labels(tenant=caller.tenant or "none", limit=limit).inc()
    wait = max(1, math.ceil(seconds))
    message = f"the quota of {getattr(quota, limit)} {limit.replace('_', ' ')} is used up; try again in {wait} s"
    headers = ((b"retry-after", str(wait).encode()),)
    return RequestRefused(HTTPStatus.TOO_MANY_REQUESTS, "rate_limit_exceeded", message, headers=headers)


def _with_headers(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    async def sending(message: Message) -> None:
        if headers and message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *headers]}
        await send(message)

    return sending
