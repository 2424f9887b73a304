"""Readiness and drain, with a real HTTP server around a tiny application."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from prometheus_client import generate_latest

from promethios_serving import drain, metrics
from promethios_serving.in_flight import InFlight

LIMIT_S = 30.0


class Application:
    """POST: a stream of two pieces, the second one when it is released. GET: the metrics."""

    def __init__(self) -> None:
        self.released = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["method"] == "GET":
            await send({"type": "http.response.body", "body": generate_latest()})
            return
        await send({"type": "http.response.body", "body": b"first ", "more_body": True})
        await self.released.wait()
        await send({"type": "http.response.body", "body": b"last"})


class Running:
    """The application behind InFlight, on a port of its own."""

    def __init__(self, drain_file: Path) -> None:
        self.application = Application()
        self.up = True
        self.drain_file = drain_file
        app = InFlight(self.application, drain_file, is_up=lambda _: self.up)
        self._server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        wait_until(lambda: self._server.started)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)

    def ready(self) -> tuple[int, dict[str, Any]]:
        with closing(self.connection()) as connection:
            connection.request("GET", "/ready")
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())

    def release(self) -> None:
        self._server.servers[0].get_loop().call_soon_threadsafe(self.application.released.set)

    def stop(self) -> None:
        if not self._thread.is_alive():
            return
        self.release()
        self._server.should_exit = True
        self._thread.join()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def answered(connection: http.client.HTTPConnection) -> tuple[bytes, str | None]:
    connection.request("POST", "/")
    with connection.getresponse() as reply:
        return reply.read(), reply.getheader("connection")


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    metrics.REVIEWS_SPOOLED.set(0)  # other tests of this process have spools, too
    drain_file = tmp_path / "drain"
    drain_file.touch()  # of a server before this one
    monkeypatch.setenv("PROMETHIOS_DRAIN_FILE", str(drain_file))
    running = Running(drain_file)
    yield running
    running.stop()


def test_a_fresh_server_is_ready_whatever_the_one_before_it_left(running: Running) -> None:
    assert running.ready() == (200, {"ready": True, "draining": False, "in_flight": 0})


def test_a_server_that_cannot_answer_is_not_ready(running: Running) -> None:
    running.up = False
    assert running.ready() == (503, {"ready": False, "draining": False, "in_flight": 0})


def test_a_draining_server_still_answers_and_then_closes_the_connection(running: Running) -> None:
    running.release()
    with closing(running.connection()) as kept:
        assert answered(kept) == (b"first last", None)
        sock = kept.sock
        assert answered(kept) == (b"first last", None)
        assert kept.sock is sock, "kept alive"
        running.drain_file.touch()
        assert answered(kept) == (b"first last", "close")
        assert kept.sock is None, "http.client drops a connection that the server closes"
    assert running.ready() == (503, {"ready": False, "draining": True, "in_flight": 0})


def test_the_drain_command_waits_for_the_last_stream_and_no_longer(running: Running) -> None:
    with closing(running.connection()) as stream, ThreadPoolExecutor(1) as pool:
        stream.request("POST", "/")
        reply = stream.getresponse()
        assert reply.read(6) == b"first "
        draining = pool.submit(drain.main, ["--url", running.url, "--settle_s", "0"])
        wait_until(lambda: running.ready() == (503, {"ready": False, "draining": True, "in_flight": 1}))
        assert not drain.is_idle(running.url)
        assert not draining.done()
        running.release()
        assert draining.result(LIMIT_S) == 0
        assert reply.read() == b"last"


def test_the_drain_command_waits_for_reviews_that_the_hub_does_not_have(running: Running) -> None:
    metrics.REVIEWS_SPOOLED.set(3)
    try:
        assert drain.main(["--url", running.url, "--settle_s", "0", "--wait_s", "0.1"]) == 1
    finally:
        metrics.REVIEWS_SPOOLED.set(0)
    assert drain.main(["--url", running.url, "--settle_s", "0", "--wait_s", "0.1"]) == 0


def test_a_server_that_is_gone_is_drained(running: Running) -> None:
    running.stop()
    assert drain.main(["--url", running.url, "--settle_s", "0"]) == 0


def test_a_drain_file_that_cannot_be_made_is_said(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("PROMETHIOS_DRAIN_FILE", "/proc/none/drain")
    assert drain.main(["--settle_s", "0"]) == 2
    assert "cannot be told to drain" in capsys.readouterr().err
