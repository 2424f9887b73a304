"""ASGI middleware: what is in flight, whether the server takes more (`GET /ready`), and its last words while it drains.

A server drains from the moment its drain file exists. It still answers everything, so that no request fails which was
on its way, but is no longer ready and closes each connection behind its response: a client that keeps connections
alive would go on using them, right into the shutdown.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promethios_serving import metrics

READY_ROUTE: Final = "/ready"
_CLOSE: Final = (b"connection", b"close")


class InFlight:
    """Outermost of our pieces. is_up: whether governed requests can be answered, were it not for draining."""

    def __init__(self, app: ASGIApp, drain_file: Path, is_up: Callable[[Scope], bool]) -> None:
        self.app = app
        self.drain_file = drain_file
        self.is_up = is_up
        self.count = 0
        drain_file.unlink(missing_ok=True)  # of a server before this one

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        send = self._closing(send)
        if scope["method"] in ("GET", "HEAD"):  # probes and pages
            if scope["path"].removeprefix(scope.get("root_path", "")) == READY_ROUTE:
                return await self._ready(scope, send)
            return await self.app(scope, receive, send)
        self._add(1)
        try:
            return await self.app(scope, receive, send)
        finally:
            self._add(-1)

    def is_draining(self) -> bool:
        """Return whether the server is asked to drain."""
        draining = self.drain_file.exists()
        metrics.DRAINING.set(draining)
        return draining

    def _add(self, number: int) -> None:
        self.count += number
        metrics.IN_FLIGHT.inc(number)

    async def _ready(self, scope: Scope, send: Send) -> None:
        draining = self.is_draining()
        ready = not draining and self.is_up(scope)
        body = json.dumps({"ready": ready, "draining": draining, "in_flight": self.count}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200 if ready else 503, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _closing(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and self.is_draining():
                message = {**message, "headers": [*message.get("headers", ()), _CLOSE]}
            await send(message)

        return sending
