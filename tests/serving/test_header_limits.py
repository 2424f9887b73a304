"""Headers without an end, on real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from promethios_serving.header_limits import LimitedHeaders, LimitHeaders, limited_headers
from tests.serving.wrapped.servers import in_thread

LIMIT, SECONDS, PATIENCE_S = 2000, 0.3, 20.0
CLOSE = b"connection: close\r\n\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with path and body; `/slow` streams until twice the time for headers has passed."""
    if scope["type"] == "lifespan":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/slow":
        for piece in (b"a", b"b"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(SECONDS)
    await send({"type": "http.response.body", "body": scope["path"].encode() + b"=%d;" % len(body)})


@contextmanager
def listening(app: Any, **config: Any) -> Iterator[tuple[str, int]]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, ws="none", log_level="error", **config))
    if isinstance(app, Starlette):
        app.state.server = server

    async def main(stop: asyncio.Event, started: Callable[[Any], None]) -> None:
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.005)
        started(server.servers[0].sockets[0].getsockname()[1])
        await stop.wait()
        server.should_exit = True
        await task

    with in_thread(main) as port:
        yield "127.0.0.1", port


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    with listening(echo, http=limited_headers(LIMIT, SECONDS), lifespan="off", loop="uvloop") as address:
        yield address


def said(address: tuple[str, int], *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """Send pieces, with a pause between two; returns all that the server says until it closes."""
    with socket.create_connection(address, timeout=PATIENCE_S) as connection, connection.makefile("rb") as reply:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause_s)
        return reply.read()


def refused(reason: str) -> float:
    return REGISTRY.get_sample_value("promethios_refused_requests_total", {"reason": reason}) or 0.0


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET / HTTP/1.1\r\nx: " + b"x" * (LIMIT + 1),
        b"GET / HTTP/1.1\r\nx: " + b"x" * LIMIT + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * (LIMIT // 5) + b"\r\n",
        b"GET /" + b"x" * LIMIT + b" HTTP/1.1\r\n\r\n",
    ],
    ids=["unfinished", "one", "many", "url"],
)
def test_headers_above_the_limit_are_refused_in_openais_shape(address: Any, request_head: bytes) -> None:
    before = refused("headers_too_large")
    head, _, body = said(address, request_head[:100], request_head[100:], pause_s=0.05).partition(b"\r\n\r\n")
    assert refused("headers_too_large") == before + 1
    assert head.startswith(b"HTTP/1.1 431 ")
    error = json.loads(body)["error"]
    assert error["code"] == "headers_too_large"
    assert "PROMETHIOS_MAX_HEADER_BYTES" in error["message"]


def test_trailers_above_the_limit_end_the_connection(address: Any) -> None:
    before = refused("headers_too_large")
    head = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx: "
    assert said(address, head, b"x" * (LIMIT + 1), pause_s=0.05) == b"", "an answer was on its way"
    assert refused("headers_too_large") == before + 1


@pytest.mark.parametrize("start", [b"", b"G", b"GET / HTTP/1.1\r\nhost: x\r\n", b"GET /1 HTTP/1.1\r\n\r\nGET /2"])
def test_headers_that_do_not_come_end_the_connection(address: Any, start: bytes) -> None:
    before, started = refused("header_timeout"), time.monotonic()
    answer = said(address, start)
    assert SECONDS * 0.9 < time.monotonic() - started < PATIENCE_S
    assert answer.count(b"HTTP/1.1 200") == start.count(b"\r\n\r\n")
    assert refused("header_timeout") == before + 1


def test_a_slow_drip_does_not_buy_more_time(address: Any) -> None:
    with socket.create_connection(address, timeout=PATIENCE_S) as connection:
        closed, started = threading.Event(), time.monotonic()
        connection.sendall(b"GET / HTTP/1.1\r\nx: ")
        while not closed.is_set() and time.monotonic() - started < PATIENCE_S:
            time.sleep(SECONDS / 5)
            try:
                connection.sendall(b"x")
            except OSError:
                closed.set()
    assert closed.is_set()


def test_kept_alive_and_pipelined_requests_are_untouched(address: Any) -> None:
    one = b"GET /1 HTTP/1.1\r\nx: " + b"x" * (LIMIT * 2 // 3) + b"\r\n\r\n"
    many = one * 20 + b"GET /2 HTTP/1.1\r\n" + CLOSE
    assert said(address, many).count(b"=0;") == 21
    assert said(address, *[one] * 3, b"GET /2 HTTP/1.1\r\n" + CLOSE, pause_s=SECONDS * 0.6).count(b"=0;") == 4
    cuts = [many[i : i + 997] for i in range(0, len(many), 997)]
    assert said(address, *cuts, pause_s=0.001).count(b"=0;") == 21


@pytest.mark.parametrize("slow", [0.0, SECONDS * 0.4])
def test_a_body_is_no_header_however_long_or_slow(address: Any, slow: float) -> None:
    head = b"POST /b HTTP/1.1\r\ncontent-length: 100000\r\n" + CLOSE
    pieces = [b"x" * 25_000] * 4
    assert b"/b=100000;" in said(address, head, *pieces, pause_s=slow)
    chunked = b"POST /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n" + CLOSE
    assert b"/c=5000;" in said(address, chunked, b"1\r\nx\r\n" * 5000, b"0\r\n\r\n", pause_s=slow)


def test_a_long_stream_is_not_cut_by_a_half_sent_next_request(address: Any) -> None:
    rest = b" HTTP/1.1\r\n" + CLOSE
    with socket.create_connection(address, timeout=PATIENCE_S) as connection, connection.makefile("rb") as reply:
        connection.sendall(b"GET /slow HTTP/1.1\r\n\r\nGET /next")
        time.sleep(SECONDS * 1.5)
        connection.sendall(rest)
        answer = reply.read()
    assert b"/slow=0;" in answer and b"/next=0;" in answer


def test_a_server_that_somebody_else_configures_gets_the_protocol_before_it_listens() -> None:
    app = Starlette()
    app.mount("/", echo)
    app.add_middleware(LimitHeaders, max_bytes=LIMIT, timeout_s=SECONDS)
    with listening(app) as address:
        assert issubclass(app.state.server.config.http_protocol_class, LimitedHeaders)
        assert said(address, b"GET / HTTP/1.1\r\nx: ", b"x" * (LIMIT + 1)).startswith(b"HTTP/1.1 431 ")


def test_a_server_with_another_parser_is_left_alone_and_said(caplog: pytest.LogCaptureFixture) -> None:
    app = Starlette()
    app.mount("/", echo)
    app.add_middleware(LimitHeaders, max_bytes=LIMIT, timeout_s=SECONDS)
    with caplog.at_level("WARNING", "promethios"), listening(app, http="h11"):
        assert not issubclass(app.state.server.config.http_protocol_class, HttpToolsProtocol)
    assert "not limited" in caplog.text
