from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from prometheus_client import REGISTRY

from promethios.errors import TelemetryError
from promethios_serving.telemetry.prometheus import PrometheusTelemetry
from promethios_serving.telemetry.source import TelemetrySource

QUERIES = """
url: {url}/
queries:
  trust: deployment_trust
  verify: {{query: avg(verified_share), at: min(timestamp(verified_share))}}
  bound: deployment_bound
  emotion: {{query: "topk(1, emotion_state)", label: emotion}}
"""


def errors() -> float:
    return REGISTRY.get_sample_value("promethios_telemetry_errors_total", {"source": "prometheus"}) or 0.0


def readings(source: TelemetrySource) -> dict[str, tuple[Any, float]]:
    state = source.state()
    return {c.name: (r.value, r.age_s) for c, r in state or () if r is not None}


@pytest.fixture
def served() -> Iterator[HTTPServer]:
    """An HTTP server that answers a GET with `server.answer(path)`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = self.server.answer(self.path)  # type: ignore[attr-defined]
            self.send_response(status)
            self.send_header("content-type", "text/plain")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def url_of(server: HTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def source_of(tmp_path: Path, text: str) -> PrometheusTelemetry:
    path = tmp_path / "queries.yaml"
    path.write_text(text, encoding="utf-8")
    return PrometheusTelemetry(path, 5.0)


@pytest.fixture
def prometheus(served: HTTPServer, tmp_path: Path) -> Iterator[str]:
    """A real Prometheus that scrapes `served` every second."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    scrape = {"job_name": "deployment", "static_configs": [{"targets": [url_of(served).removeprefix("http://")]}]}
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}
    (tmp_path / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
    command = ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log, cwd=tmp_path
        )
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.mark.integration
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed (apt install prometheus)")
def test_a_real_prometheus_gives_values_words_and_the_time_of_their_samples(
    served: HTTPServer, prometheus: str, tmp_path: Path
) -> None:
    taken = time.time() - 90
    lines = [
        "deployment_trust 0.72",
        f'verified_share{{of="a"}} 0.9 {int(taken * 1000)}',
        'verified_share{of="b"} 0.7',
        "deployment_bound 0.5",
        'emotion_state{emotion="ANXIOUS"} 3',
        'emotion_state{emotion="CALM"} 1',
    ]
    served.answer = lambda path: (200, "\n".join(lines) + "\n")  # type: ignore[attr-defined]
    source = source_of(tmp_path, QUERIES.format(url=prometheus))

    async def until_scraped() -> None:
        async with asyncio.timeout(60):
            while source.state() is None or source.error:
                await source.refresh()
                await asyncio.sleep(0.05)

    before = errors()
    asyncio.run(until_scraped())
    found = readings(source)
    assert {name: value for name, (value, _) in found.items()} == {
        "trust": 0.72,
        "verify": 0.8,
        "bound": 0.5,
        "emotion": "ANXIOUS",
    }
    assert found["trust"][1] < 60
    assert found["verify"][1] == pytest.approx(time.time() - taken, abs=5), "as old as the oldest of its samples"
    assert errors() > before, "while nothing was scraped, that was counted"


def answering(replies: dict[str, Any]) -> Any:
    def answer(path: str) -> tuple[int, str]:
        [query] = parse_qs(urlsplit(path).query)["query"]
        reply = replies[query]
        if isinstance(reply, tuple):
            return reply
        return 200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": reply}})

    return answer


def series(value: float, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "value": [time.time(), str(value)]}


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ([], "gives 0 series"),
        ([series(0.1), series(0.2)], "gives 2 series"),
        ([series(float("nan"))], "the value is nan"),
        ((422, '{"status": "error", "error": "unknown function"}'), "unknown function"),
        ((503, "starting up"), "starting up"),
        ((200, "<html>"), "not Prometheus's"),
        ((200, '{"data": {"resultType": "vector", "result": [3]}}'), "not Prometheus's"),
        ((200, '{"data": {"resultType": "vector", "result": [{"metric": {}, "value": []}]}}'), "not Prometheus's"),
    ],
)
def test_a_channel_that_cannot_be_read_keeps_its_reading_and_the_others_go_on(
    served: HTTPServer, tmp_path: Path, reply: Any, said: str
) -> None:
    now = time.time()
    replies = {
        "t": [series(0.7)],
        "timestamp(t)": [series(now - 50)],
        "v": [series(0.4)],
        "timestamp(v)": [series(now)],
    }
    served.answer = answering(replies)  # type: ignore[attr-defined]
    source, before = source_of(tmp_path, f"url: {url_of(served)}\nqueries: {{trust: t, verify: v}}"), errors()
    asyncio.run(source.refresh())
    assert (source.error, errors()) == (None, before)
    replies |= {"t": reply, "v": [series(0.5)]}
    asyncio.run(source.refresh())
    found = readings(source)
    assert found["trust"][0] == 0.7
    assert found["trust"][1] >= 50
    assert found["verify"][0] == 0.5
    assert "trust: " in (source.error or "") and said in (source.error or "")
    assert errors() == before + 1


def test_a_word_that_the_channel_does_not_know_is_refused(served: HTTPServer, tmp_path: Path) -> None:
    served.answer = answering(  # type: ignore[attr-defined]
        {"e": [series(1, emotion="JOLLY")], "timestamp(e)": [series(time.time())]}
    )
    for label, said in (("emotion", "JOLLY"), ("mood", "has no label 'mood'; it has emotion")):
        queries = f"queries: {{emotion: {{query: e, label: {label}}}}}"
        source = source_of(tmp_path, f"url: {url_of(served)}\n{queries}")
        asyncio.run(source.refresh())
        assert source.state() is None
        assert said in (source.error or "")


def test_a_prometheus_that_is_down_leaves_requests_degraded(tmp_path: Path) -> None:
    source = source_of(tmp_path, "url: http://127.0.0.1:9\nqueries: {trust: t}")
    asyncio.run(source.refresh())
    assert source.state() is None
    assert "cannot be fetched" in (source.error or "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("queries: {trust: t}", "two keys"),
        ("url: prometheus:9090\nqueries: {trust: t}", "http://"),
        ("url: http://p\nqueries: {}", "at least one"),
        ("url: http://p\nqueries: {trsut: t}", "did you mean 'trust'"),
        ("url: http://p\nqueries: {trust: 3}", "queries.trust"),
        ("url: http://p\nqueries: {trust: {at: t}}", "`query` is missing"),
        ("url: http://p\nqueries: {trust: {query: t, labl: x}}", "did you mean 'label'"),
        ("url: http://p\nqueries: {trust: {query: t, label: x}}", "takes no `label`"),
        ("url: http://p\nqueries: {emotion: t}", "name the `label`"),
        ("url: http://p\nurl: http://q\nqueries: {trust: t}", "twice"),
    ],
)
def test_a_file_of_queries_that_is_wrong_ends_the_start(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(TelemetryError, match=r"queries\.yaml") as refused:
        source_of(tmp_path, text)
    assert said in str(refused.value)
