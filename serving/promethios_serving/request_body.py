"""Reading a request body whole, within a limit, and handing it on."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promethios_serving.openai_errors import RequestRefused, send_refusal

MAX_BODY_BYTES: Final = "PROMETHIOS_MAX_BODY_BYTES"
BODY_TIMEOUT_S: Final = "PROMETHIOS_BODY_TIMEOUT_S"
"""The settings that refusals name, unless another server has others."""
_WITHOUT_BODY: Final = ("GET", "HEAD", "OPTIONS")
"""Methods that have a body only when their headers announce one."""


class ClientGone(Exception):
    """The client went away before its request was complete."""


async def read_body(receive: Receive, limit: int | None = None, setting: str = MAX_BODY_BYTES) -> bytes:
    """Read the request body. Raises RequestRefused (413) above `limit` bytes, which `setting` sets, and ClientGone."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if limit is not None and size > limit:
            raise RequestRefused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                "request_too_large",
                f"the request body is larger than {limit} bytes; send less (limit: {setting})",
            )
        if not message.get("more_body", False):
            return b"".join(parts)


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that yields `body` first and then whatever the client does, such as disconnect."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return pending.pop() if pending else await receive()

    return replayed


class BodyLimit:
    """ASGI middleware that refuses a body before anything parses it: 413 when it is too large, 408 when too slow."""

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        timeout_s: float | None = None,
        *,
        setting: str = MAX_BODY_BYTES,
        timeout_setting: str = BODY_TIMEOUT_S,
    ) -> None:
        """setting, timeout_setting: where `max_bytes` and `timeout_s` come from, for the refusals' messages."""
        self.app = app
        self.setting = setting
        self.timeout_setting = timeout_setting
        self.max_bytes = max_bytes
        self.timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or not _has_body(scope):
            return await self.app(scope, receive, send)
        try:
            async with asyncio.timeout(self.timeout_s):
                body = await read_body(receive, self.max_bytes, self.setting)
        except TimeoutError:
            return await send_refusal(send, _too_slow(self.timeout_s, self.timeout_setting))
        except RequestRefused as refusal:
            return await send_refusal(send, refusal)
        except ClientGone:
            return None
        return await self.app(scope, replay(body, receive), send)


def _has_body(scope: Scope) -> bool:
    if scope["method"] not in _WITHOUT_BODY:
        return True
    headers = dict(scope.get("headers", ()))
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _too_slow(seconds: float | None, setting: str) -> RequestRefused:
    message = f"the request body did not arrive within {seconds:g} s (limit: {setting})"
    close = (b"connection", b"close")  # the rest of the body is still to come
    return RequestRefused(HTTPStatus.REQUEST_TIMEOUT, "body_timeout", message, headers=(close,))
