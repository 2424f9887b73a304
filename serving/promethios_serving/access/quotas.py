"""Quotas of a tenant, counted for each of its keys: requests and tokens a minute, and requests at the same time.

Token buckets in this process: a bucket holds a minute's worth and refills evenly, so a burst up to the quota passes and
the long-run rate holds. Several replicas each count for themselves: divide a quota by their number, or let a gateway
count. Tokens are known only after the answer: a request is let in while the bucket is not empty, and pays afterwards.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, MutableMapping
from http import HTTPStatus
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promethios_serving import metrics
from promethios_serving.access.caller import Caller
from promethios_serving.openai_errors import RequestRefused, send_refusal
from promethios_serving.request_context import CURRENT

_SECONDS: Final = 60.0


class Bucket:
    """A token bucket. limit: what it holds, and what flows in a minute."""

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


class Quotas:
    """ASGI middleware, inside GovernedRequests: 429 above a quota, and OpenAI's `x-ratelimit-*` headers."""

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = time.monotonic) -> None:
        self.app = app
        self._clock = clock
        self._requests: dict[str, Bucket] = {}
        self._tokens: dict[str, Bucket] = {}
        self._running: defaultdict[str, int] = defaultdict(int)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        request = CURRENT.get()
        if request is None or request.caller.key_id is None:
            return await self.app(scope, receive, send)
        caller, key = request.caller, request.caller.key_id
        try:
            headers = self._admit(caller, key)
        except RequestRefused as refusal:
            return await send_refusal(send, refusal)
        self._running[key] += 1
        try:
            await self.app(scope, receive, _with_headers(send, headers))
        finally:
            self._running[key] -= 1
            if caller.policy.tokens_per_minute:
                self._tokens[key].take(request.tokens, self._clock())

    def _admit(self, caller: Caller, key: str) -> list[tuple[bytes, bytes]]:
        """Let a request in; returns the headers that tell where its quotas stand. Raises RequestRefused (429)."""
        policy, now = caller.policy, self._clock()
        if policy.concurrent_requests and self._running[key] >= policy.concurrent_requests:
            raise _limited(caller, "concurrent_requests", policy.concurrent_requests, 1.0)
        headers: list[tuple[bytes, bytes]] = []
        requests = _bucket(self._requests, key, policy.requests_per_minute, now)
        tokens = _bucket(self._tokens, key, policy.tokens_per_minute, now)
        if requests is not None and requests.level(now) < 1:
            raise _limited(caller, "requests_per_minute", requests.limit, requests.seconds_until(1, now))
        if tokens is not None and tokens.level(now) <= 0:
            raise _limited(caller, "tokens_per_minute", tokens.limit, tokens.seconds_until(1, now))
        if requests is not None:
            requests.take(1, now)
            headers += _headers(b"requests", requests, now)
        if tokens is not None:
            headers += _headers(b"tokens", tokens, now)
        return headers


def _bucket(buckets: MutableMapping[str, Bucket], key: str, limit: int, now: float) -> Bucket | None:
    """Return a key's bucket, a new one when its limit changed; None without a limit."""
    if not limit:
        return None
    bucket = buckets.get(key)
    if bucket is None or bucket.limit != limit:
        bucket = buckets[key] = Bucket(limit, now)
    return bucket


def _headers(kind: bytes, bucket: Bucket, now: float) -> list[tuple[bytes, bytes]]:
    remaining = max(0, math.floor(bucket.level(now)))
    return [
        (b"x-ratelimit-limit-" + kind, str(bucket.limit).encode()),
        (b"x-ratelimit-remaining-" + kind, str(remaining).encode()),
        (b"x-ratelimit-reset-" + kind, f"{bucket.seconds_until(bucket.limit, now):.0f}s".encode()),
    ]


def _limited(caller: Caller, limit: str, allowed: int, seconds: float) -> RequestRefused:
    metrics.RATE_LIMITED_REQUESTS.labels(tenant=caller.tenant or "none", limit=limit).inc()
    wait = max(1, math.ceil(seconds))
    message = f"the quota of {allowed} {limit.replace('_', ' ')} is used up; try again in {wait} s"
    headers = ((b"retry-after", str(wait).encode()),)
    return RequestRefused(HTTPStatus.TOO_MANY_REQUESTS, "rate_limit_exceeded", message, headers=headers)


def _with_headers(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    async def sending(message: Message) -> None:
        if headers and message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *headers]}
        await send(message)

    return sending
