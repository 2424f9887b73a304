"""ASGI middleware: gives each request a name that client, log, audit log and review share: `x-request-id`."""

from __future__ import annotations

import uuid
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER: Final = "x-request-id"
_NAME: Final = HEADER.encode()
_MAX_LENGTH: Final = 128


class RequestId:
    """Puts a request's id, its client's or a new one, into its headers and those of its response, refusals included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        given = next((value for name, value in scope["headers"] if name == _NAME), b"")
        header = (_NAME, given if _is_plain(given) else uuid.uuid4().hex.encode())

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _with(message.get("headers", ()), header)}
            await send(message)

        return await self.app({**scope, "headers": _with(scope["headers"], header)}, receive, sending)


def _is_plain(name: bytes) -> bool:
    """Return whether a client's id may stand in a log: short, visible ASCII."""
    return 0 < len(name) <= _MAX_LENGTH and all(0x21 <= byte <= 0x7E for byte in name)


def _with(headers: list[tuple[bytes, bytes]], header: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    return [*(pair for pair in headers if pair[0] != _NAME), header]
