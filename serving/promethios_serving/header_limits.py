"""Limits on a request's headers, of which uvicorn has none: their size, and the time that they may take.

The parser hands over whole headers only, so an endless one fills the memory before any ASGI application sees it. Here
those bytes are counted that came since the parser handed anything over; trailers behind a chunked body count, too.
"""

from __future__ import annotations

import logging
from asyncio import TimerHandle, Transport
from http import HTTPStatus
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from promethios_serving import metrics
from promethios_serving.openai_errors import RequestRefused

_BESIDE: Final = 4
"""Bytes of a header's line beside its name and value: colon, blank and the line's end."""
_log: Final = logging.getLogger("promethios")


class LimitedHeaders(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with 431 for headers above `max_bytes` and an end for those not there in `seconds`.

    While an answer is on its way nothing is timed: what comes behind it may have to wait.
    """

    max_bytes = 64 * 1024
    seconds = 10.0
    _pending = 0
    _in_headers = True
    _are_too_large = False
    _timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._pending += len(data)
        super().data_received(data)
        if self._pending > self.max_bytes:
            self._refuse()
        elif self._in_headers and self._timer is None:
            self._wait()

    def on_message_begin(self) -> None:
        """Headers follow."""
        self._in_headers = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the request. Raises ValueError, on which the parser ends, for too many headers."""
        self._pending, self._in_headers = 0, False
        self._stop_waiting()
        size = len(self.url) + sum([len(name) + len(value) + _BESIDE for name, value in self.headers])
        if size > self.max_bytes:
            self._are_too_large = True
            raise ValueError(f"{size} bytes of headers")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._pending = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._pending = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser ended on."""
        if self._are_too_large:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _refuse(self) -> None:
        """Say 431, unless another answer is on its way, and close."""
        if self.transport.is_closing():
            return
        message = (
            f"the request's headers have more than {self.max_bytes} bytes; send fewer or shorter ones "
            "(limit: PROMETHIOS_MAX_HEADER_BYTES)"
        )
        refusal = RequestRefused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", message)
        metrics.REFUSED_REQUESTS.labels(reason=refusal.reason).inc()
        if not self._is_answering():
            body = refusal.body()
            head = (
                "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self.seconds, self._too_late)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        if self._is_answering():
            self._wait()
        elif not self.transport.is_closing():
            metrics.REFUSED_REQUESTS.labels(reason="header_timeout").inc()
            self.transport.close()


def limited_headers(limit_bytes: int, timeout_s: float) -> type[LimitedHeaders]:
    """Return the protocol with these limits, for uvicorn's option `http`."""

    class Limited(LimitedHeaders):
        max_bytes = limit_bytes
        seconds = timeout_s

    return Limited


class LimitHeaders:
    """ASGI middleware that gives the server which runs it the protocol with limits, before it listens.

    For a server that somebody else configures: vLLM keeps its uvicorn server in `app.state.server`.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float) -> None:
        self.app = app
        self.protocol = limited_headers(max_bytes, timeout_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, or the server's start."""
        if scope["type"] == "lifespan":
            self._install(scope)
        await self.app(scope, receive, send)

    def _install(self, scope: Scope) -> None:
        server = getattr(scope["app"].state, "server", None)
        if isinstance(server, Server) and server.config.http_protocol_class is HttpToolsProtocol:
            server.config.http_protocol_class = self.protocol
        else:
            _log.warning("the size and time of request headers are not limited: the server is not uvicorn on httptools")
