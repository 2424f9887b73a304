"""Clients and upstreams that take their time, on real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.serving.wrapped.servers import Exchange, MockUpstream, chat, event

Wrapped = Callable[..., Any]
ROUTE = "/v1/chat/completions"
PATIENCE_S = 20.0


def test_a_client_that_does_not_send_its_body_is_shown_the_door(wrapped: Wrapped, upstream: MockUpstream) -> None:
    with wrapped(body_timeout_s=0.2) as client:
        address = (client.base_url.host, client.base_url.port)
        with socket.create_connection(address, timeout=PATIENCE_S) as connection, connection.makefile("rb") as reply:
            head = f"POST {ROUTE} HTTP/1.1\r\nhost: x\r\nx-request-id: slow-1\r\ncontent-length: 100\r\n\r\n"
            connection.sendall(head.encode() + b'{"messages"')
            said = reply.read()  # until the server closes
    head_said, _, body = said.partition(b"\r\n\r\n")
    assert head_said.startswith(b"HTTP/1.1 408 ")
    assert b"x-request-id: slow-1" in head_said
    assert json.loads(body)["error"]["code"] == "body_timeout"
    assert upstream.exchanges == []


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_takes_too_long_is_given_up_and_the_upstream_left(
    wrapped: Wrapped, upstream: MockUpstream, stream: bool
) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.head(200, "text/event-stream" if stream else "application/json")
        while not exchange.writer.transport.is_closing():
            await exchange.chunk(event("word ") if stream else b" ")
            await asyncio.sleep(0.01)

    upstream.reply = endless
    with wrapped(request_timeout_s=0.5) as client:
        response = client.post(ROUTE, json=chat(stream=stream))
        assert upstream.exchanges[0].closed.wait(PATIENCE_S)
    assert response.status_code == (200 if stream else 504)
    last = response.text.strip().split("\n\n")[-1].removeprefix("data: ")
    assert json.loads(last)["error"]["code"] == "request_timeout"
