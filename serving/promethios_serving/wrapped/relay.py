"""Passes an upstream's answer on to the client, and cancels it when the client goes away."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final

from starlette.types import Receive, Send

from promethios_serving import metrics
from promethios_serving.openai_errors import RequestRefused, send_refusal
from promethios_serving.wrapped.event_relay import StreamCut, relayed_events
from promethios_serving.wrapped.upstream import Upstream, garbage, read_reply

_JSON: Final = (b"content-type", b"application/json")
_EVENTS: Final = (b"content-type", b"text/event-stream; charset=utf-8")
_DECISION_HEADERS: Final = ("x-promethios-decision", "x-promethios-decision-id")
_log: Final = logging.getLogger("promethios.wrapped")


async def answer_while_connected(answer: Coroutine[Any, Any, None], receive: Receive, send: Send) -> None:
    """Run a request to its end, or until its client goes away; send its refusal, if it is refused."""
    answering = asyncio.create_task(answer)
    gone = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        client_left = gone.done()
        gone.cancel()
        answering.cancel()  # does nothing to one that is done
    try:
        await answering
    except RequestRefused as refusal:
        await send_refusal(send, refusal)
    except asyncio.CancelledError:
        if not client_left:
            raise


async def relay_completion(
    upstream: Upstream,
    path: str,
    raw: bytes,
    send: Send,
    *,
    streamed: bool,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Ask an upstream and send its answer on; a native engine's decision headers with it.

    streamed: whether the request asks for events. Raises RequestRefused as long as nothing was sent; a stream that is
    cut later ends in an event with an error, so that no client takes it for whole.
    """
    async with upstream.post(path, raw, headers) as response:
        if (response.content_type == "text/event-stream") != streamed:
            raise garbage()
        decision = [
            (name.encode(), response.headers[name].encode()) for name in _DECISION_HEADERS if name in response.headers
        ]
        if not streamed:
            content = await read_reply(response)
            _require_completion(content)
            await send_json(send, content, decision)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [_EVENTS, *decision]})
        try:
            async for events in relayed_events(response.content):
                await send({"type": "http.response.body", "body": events, "more_body": True})
        except StreamCut as cut:
            metrics.REFUSED_REQUESTS.labels(reason=cut.refusal.reason).inc()
            _log.error("an answer was cut: %s", cut)
            last_event = b"data: " + cut.refusal.body() + b"\n\n"
            await send({"type": "http.response.body", "body": last_event, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def send_json(send: Send, content: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """Send a JSON text as a whole response with status 200."""
    length = (b"content-length", str(len(content)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [_JSON, length, *headers]})
    await send({"type": "http.response.body", "body": content})


async def send_events(send: Send, events: bytes) -> None:
    """Send events as a whole response with status 200."""
    await send({"type": "http.response.start", "status": 200, "headers": [_EVENTS]})
    await send({"type": "http.response.body", "body": events})


def _require_completion(content: bytes) -> None:
    try:
        is_completion = isinstance(json.loads(content)["choices"], list)
    except (LookupError, TypeError, ValueError, RecursionError):
        is_completion = False
    if not is_completion:
        raise garbage()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
