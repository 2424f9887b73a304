"""ASGI middleware: an answer takes at most so long; then the request is given up as if its client had gone.

So everything behind it stops the way it does for a client that hangs up: the engine aborts, the upstream is left. The
client, which is still there, gets 504, or an error as the last event of a stream that had begun.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promethios_serving import metrics
from promethios_serving.openai_errors import RequestRefused, send_refusal


class TimeLimit:
    """Limits each POST request to `seconds`."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self.app(scope, receive, send)
        answer = _Answer(receive, send, self.seconds)
        await self.app(scope, answer.receive, answer.send)
        return await answer.finish()


class _Answer:
    """One answer and the time that is left for it."""

    def __init__(self, receive: Receive, send: Send, seconds: float) -> None:
        self._receive = receive
        self._send = send
        self._seconds = seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._start: Message | None = None
        self._complete = False

    async def receive(self) -> Message:
        """Return what the client does next; at the latest at the deadline, that it has gone."""
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._receive()
        except TimeoutError:
            return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Pass a message on; after the deadline nobody hears it."""
        if self._is_over():
            return
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            self._complete = not message.get("more_body", False)
        await self._send(message)

    async def finish(self) -> None:
        """Tell the client when its answer was given up."""
        if self._complete or not self._is_over():
            return
        message = f"the answer took longer than {self._seconds:g} s; ask for less (limit: PROMETHIOS_REQUEST_TIMEOUT_S)"
        refusal = RequestRefused(HTTPStatus.GATEWAY_TIMEOUT, "request_timeout", message)
        if self._start is None:
            await send_refusal(self._send, refusal)
        elif Headers(raw=self._start["headers"]).get("content-type", "").startswith("text/event-stream"):
            metrics.REFUSED_REQUESTS.labels(reason=refusal.reason).inc()
            await self._send({"type": "http.response.body", "body": b"data: %s\n\n" % refusal.body()})

    def _is_over(self) -> bool:
        return asyncio.get_running_loop().time() >= self._deadline
