from __future__ import annotations

import asyncio
import json
import math
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from promethios.errors import TelemetryError
from promethios.telemetry.state import GovernanceState
from promethios_serving.settings import Settings
from promethios_serving.telemetry.choice import telemetry_source
from promethios_serving.telemetry.file import FileTelemetry
from promethios_serving.telemetry.source import NoTelemetry, show_ages
from promethios_serving.telemetry.url import UrlTelemetry


def errors(source: str) -> float:
    return REGISTRY.get_sample_value("promethios_telemetry_errors_total", {"source": source}) or 0.0


def rewrite(path: Path, text: str) -> None:
    """Replace a file as a careful writer does: by a new one, with a new inode."""
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "telemetry.yaml"
    file.write_text("trust: 0.5", encoding="utf-8")
    return file


def test_a_change_of_the_file_is_seen_at_once(path: Path) -> None:
    source = FileTelemetry(path)
    rewrite(path, "trust: 0.8")
    state = source.state()
    assert state is not None and state.trust is not None
    assert state.trust.value == 0.8


def test_a_file_that_is_bad_at_the_start_is_refused(path: Path) -> None:
    path.write_text("trust: high", encoding="utf-8")
    with pytest.raises(TelemetryError, match=r"telemetry\.yaml"):
        FileTelemetry(path)


def test_after_a_bad_change_the_last_good_state_keeps_ageing(path: Path) -> None:
    old = path.stat().st_mtime - 200
    os.utime(path, (old, old))
    source, before = FileTelemetry(path), errors("file")
    rewrite(path, "trust: high")
    state = source.state()
    assert state is not None and state.trust is not None
    assert state.trust.value == 0.5
    assert state.trust.age_s >= 200
    assert "trust='high'" in (source.error or "")
    source.state()
    assert errors("file") == before + 1, "the same bad file counts once"


def test_a_file_that_goes_away_keeps_the_last_state_and_comes_back(path: Path) -> None:
    source = FileTelemetry(path)
    path.unlink()
    assert source.state() is not None
    assert "No such file" in (source.error or "")
    rewrite(path, "trust: 0.9")
    source.state()
    assert source.error is None


@pytest.fixture
def endpoint() -> Iterator[HTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = self.server.reply  # type: ignore[attr-defined]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def fetched(endpoint: HTTPServer, status: int, body: bytes, source: UrlTelemetry | None = None) -> UrlTelemetry:
    endpoint.reply = (status, body)  # type: ignore[attr-defined]
    source = source or UrlTelemetry(f"http://127.0.0.1:{endpoint.server_port}/", 2.0)
    asyncio.run(source.refresh())
    return source


def test_a_url_is_read_as_json(endpoint: HTTPServer) -> None:
    state = fetched(endpoint, 200, json.dumps({"trust": 0.4}).encode()).state()
    assert state is not None and state.trust is not None
    assert state.trust.value == 0.4


@pytest.mark.parametrize(("status", "body"), [(500, b"{}"), (200, b"nonsense"), (200, b'{"trust": "high"}')])
def test_a_bad_reply_keeps_the_last_good_state(endpoint: HTTPServer, status: int, body: bytes) -> None:
    source, before = fetched(endpoint, 200, b'{"trust": 0.4}'), errors("url")
    fetched(endpoint, status, body, source)
    assert source.state() is not None
    assert source.error is not None
    assert errors("url") == before + 1


def test_a_url_that_is_down_gives_no_state_and_an_error(endpoint: HTTPServer) -> None:
    source = UrlTelemetry("http://127.0.0.1:9/", 0.5)
    asyncio.run(source.refresh())
    assert source.state() is None
    assert "cannot be fetched" in (source.error or "")


@pytest.mark.parametrize("reply", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{}", b""])
def test_a_reply_that_is_no_http_is_an_error_and_the_source_lives_on(reply: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(reply)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        source = UrlTelemetry(f"http://127.0.0.1:{listener.getsockname()[1]}/", 2.0)
        asyncio.run(source.refresh())
        thread.join()
    assert "cannot be fetched" in (source.error or "")


def test_the_settings_choose_the_source(path: Path) -> None:
    assert isinstance(telemetry_source(Settings()), NoTelemetry)
    assert isinstance(telemetry_source(Settings(telemetry_file=path)), FileTelemetry)
    assert isinstance(telemetry_source(Settings(telemetry_url="http://h/")), UrlTelemetry)


def test_a_missing_channel_has_an_infinite_age() -> None:
    show_ages(GovernanceState.of(trust=0.5))
    assert REGISTRY.get_sample_value("promethios_telemetry_age_seconds", {"channel": "trust"}) == 0.0
    assert REGISTRY.get_sample_value("promethios_telemetry_age_seconds", {"channel": "verify"}) == math.inf
