from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse

from promethios_serving.time_limit import TimeLimit

SECONDS = 0.05


def answer_of(app: Any, seconds: float = SECONDS, method: str = "POST") -> tuple[list[Any], bytes]:
    """Return what a client that stays gets from an application: the messages, and the bodies in one."""
    sent: list[Any] = []
    body = [{"type": "http.request", "body": b"{}", "more_body": False}]

    async def receive() -> Any:
        return body.pop() if body else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": "/", "headers": [], "asgi": {"spec_version": "2.3"}}
    asyncio.run(TimeLimit(app, seconds)(scope, receive, send))
    return sent, b"".join(message["body"] for message in sent[1:])


async def hangs(scope: Any, receive: Any, send: Any) -> None:
    """Listen for the client to go away, as vLLM's routes do, and then still answer, as they do, too."""
    while (await receive())["type"] != "http.disconnect":
        pass
    await JSONResponse(None)(scope, receive, send)


async def drips(scope: Any, receive: Any, send: Any) -> None:
    async def events() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await asyncio.Event().wait()

    await Request(scope, receive).body()
    await StreamingResponse(events(), media_type="text/event-stream")(scope, receive, send)


async def answers(scope: Any, receive: Any, send: Any) -> None:
    await JSONResponse(await Request(scope, receive).json())(scope, receive, send)


def test_an_answer_that_is_not_there_in_time_becomes_an_error() -> None:
    sent, body = answer_of(hangs)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 504
    assert json.loads(body)["error"]["code"] == "request_timeout"


def test_a_stream_that_takes_too_long_ends_with_an_error_event() -> None:
    sent, body = answer_of(drips)
    first, last, end = body.split(b"\n\n")
    assert (sent[0]["status"], first, end) == (200, b"data: 1", b"")
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "request_timeout"
    assert not sent[-1].get("more_body", False)


def test_an_answer_in_time_is_untouched() -> None:
    sent, body = answer_of(answers, seconds=60)
    assert (sent[0]["status"], body) == (200, b"{}")
