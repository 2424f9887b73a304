from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from promethios_serving.request_body import BodyLimit

Call = Callable[..., Any]


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def test_a_body_within_the_limit_passes_whole(call: Call) -> None:
    assert call(BodyLimit(echo, 6), body=[b"abc", b"def"]).body == b"abcdef"


@pytest.mark.parametrize("body", [[b"abcdefg"], [b"abc", b"def", b"g"]])
def test_a_larger_body_is_refused_however_it_arrives(call: Call, body: list[bytes]) -> None:
    reply = call(BodyLimit(echo, 6), body=body)
    assert reply.status == 413
    assert reply.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_every_method_with_a_body_is_limited(call: Call, method: str) -> None:
    assert call(BodyLimit(echo, 6), method=method, body=[b"abc", b"defg"]).status == 413
    assert call(BodyLimit(echo, 6), method=method, body=[b"abc", b"def"]).body == b"abcdef"


@pytest.mark.parametrize("headers", [{"content-length": "7"}, {"transfer-encoding": "chunked"}], ids=str)
def test_a_body_where_none_belongs_is_limited_too(call: Call, headers: dict[str, str]) -> None:
    assert call(BodyLimit(echo, 6), method="GET", body=b"abcdefg", headers=headers).status == 413


def test_a_request_without_a_body_is_not_read(call: Call) -> None:
    assert call(BodyLimit(echo, 0), method="GET", body=b"x").body == b"x"


def test_a_body_that_does_not_arrive_in_time_is_refused() -> None:
    sent: list[Any] = []

    async def slow() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(BodyLimit(echo, 6, timeout_s=0.01)({"type": "http", "method": "POST"}, slow, send))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert "within 0.01 s (limit: PROMETHIOS_BODY_TIMEOUT_S)" in json.loads(sent[1]["body"])["error"]["message"]


def test_a_client_that_goes_away_gets_no_reply() -> None:
    async def gone() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError("nobody is there to send to")

    asyncio.run(BodyLimit(echo, 6)({"type": "http", "method": "POST"}, gone, send))
