"""Passes an upstream's answer on to the client, and cancels it when the client goes away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from starlette.types import Message, Receive, Send

from promethios_serving import metrics
from promethios_serving.openai_errors import RequestRefused, send_refusal
from promethios_serving.request_context import CURRENT, GovernedRequest
from promethios_serving.reviews.reviews import OpenReview
from promethios_serving.wrapped.event_relay import StreamCut, relayed_events
from promethios_serving.wrapped.interface import Interface, estimated_tokens
from promethios_serving.wrapped.upstream import Upstream, garbage, read_reply

_JSON: Final = (b"content-type", b"application/json")
_EVENTS: Final = (b"content-type", b"text/event-stream; charset=utf-8")
Answer = Callable[[Send], Coroutine[Any, Any, None]]
_log: Final = logging.getLogger("promethios.wrapped")


async def answer_while_connected(answer: Answer, receive: Receive, send: Send) -> None:
    """Run a request to its end, or until its client goes away; send its refusal, if it is refused."""
    is_complete = False

    async def watched(message: Message) -> None:
        nonlocal is_complete
        await send(message)
        is_complete = message["type"] == "http.response.body" and not message.get("more_body", False)

    answering = asyncio.create_task(answer(watched))
    gone = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
        if is_complete:  # the server calls that a disconnect, too; what follows the answer is not to be cancelled
            await asyncio.wait({answering})
    finally:
        client_left = gone.done()
        gone.cancel()
        answering.cancel()  # does nothing to one that is done
    try:
        await answering
    except RequestRefused as refusal:
        request = CURRENT.get()
        await send_refusal(send, refusal, counted=request is None or request.counted)
    except asyncio.CancelledError:
        if not client_left:
            raise


async def relay_answer(
    upstream: Upstream,
    interface: Interface,
    raw: bytes,
    request: GovernedRequest,
    send: Send,
    *,
    streamed: bool,
    review: OpenReview | None = None,
    sent_headers: Mapping[str, str] | None = None,
    passed_headers: Sequence[str] = (),
) -> None:
    """Ask an upstream and send its answer on; count the request's tokens.

    streamed: whether the request asks for events. review: hears what is said. sent_headers: of the request to the
    upstream. passed_headers: names of reply headers that the client gets, too. Raises RequestRefused as long as nothing
    was sent; a stream that is cut later ends in an event with an error, so that no client takes it for whole.
    """
    paid = request.tokens  # for a self-check
    request.tokens += estimated_tokens(raw)
    async with upstream.post(interface.path, raw, sent_headers) as response:
        if (response.content_type == "text/event-stream") != streamed:
            raise garbage()
        passed = [
            (name.encode(), response.headers[name].encode()) for name in passed_headers if name in response.headers
        ]
        if not streamed:
            content = await read_reply(response)
            request.tokens = paid + (interface.tokens(content) or estimated_tokens(raw, content))
            if review is not None:
                review.hear(interface.spoken(content), delta=False)
            await send_json(send, content, passed)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [_EVENTS, *passed]})
        try:
            told = 0
            async for events in relayed_events(response.content, interface.has_ended):
                told = interface.tokens_in_events(events) or told
                request.tokens = paid + told if told else request.tokens + events.count(b"\n\n")
                if review is not None:
                    review.hear(interface.spoken(events), delta=True)
                await send({"type": "http.response.body", "body": events, "more_body": True})
        except StreamCut as cut:
            if request.counted:
                metrics.REFUSED_REQUESTS.labels(reason=cut.refusal.reason).inc()
                _log.error("the answer to %s was cut: %s", request.id, cut)
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


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
