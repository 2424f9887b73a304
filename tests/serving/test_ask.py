from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from promethios import ask

GOVERNANCE = {"id": "gov-1", "decision": "escalate", "review_id": None, "probability": 0.62, "threshold": 0.4}
COMPLETION = {"id": "c", "object": "chat.completion", "created": 1, "model": "promethios", "governance": GOVERNANCE}
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "promethios"}


class Fake(HTTPServer):
    """An OpenAI-compatible server with one answer; keeps the last request."""

    status = 200
    body: dict[str, Any]
    headers: Any = None
    reply: bytes = b""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


@pytest.fixture
def fake() -> Iterator[Fake]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            server = self.server
            assert isinstance(server, Fake)
            server.body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            server.headers = self.headers
            self.send_response(server.status)
            stream = server.body.get("stream")
            self.send_header("content-type", "text/event-stream" if stream else "application/json")
            self.end_headers()
            self.wfile.write(server.reply)

        def log_message(self, *args: object) -> None:
            pass

    server = Fake(("127.0.0.1", 0), Handler)
    message = {"role": "assistant", "content": "Please ask a clinician."}
    server.reply = json.dumps({**COMPLETION, "choices": [{"index": 0, "message": message}]}).encode()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_decision_probability_and_answer_are_printed(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask.main(["May I?", "--base_url", fake.url, "--domain", "healthcare"]) == 0
    printed = capsys.readouterr().out
    assert "escalate" in printed
    assert "probability 0.62, threshold 0.40" in printed
    assert "Please ask a clinician." in printed
    assert fake.body["governance"] == {"domain": "healthcare"}


def test_telemetry_goes_along_with_its_key(fake: Fake) -> None:
    more = ["--telemetry", "trust=0.3,emotion=ANXIOUS;age=40", "--telemetry_key", "secret"]
    ask.main(["May I?", "--base_url", fake.url, *more])
    telemetry = {"trust": 0.3, "emotion": {"value": "ANXIOUS", "age_s": 40.0}}
    assert fake.body["governance"] == {"telemetry": telemetry}
    assert fake.headers["x-promethios-telemetry-key"] == "secret"


def test_the_key_is_not_sent_without_telemetry(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHIOS_TELEMETRY_KEY", "secret")
    ask.main(["May I?", "--base_url", fake.url])
    assert fake.headers["x-promethios-telemetry-key"] is None
    assert "governance" not in fake.body


def test_a_streamed_answer_is_printed_with_its_decision(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    pieces = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("Please ", "ask.")]
    chunks = [*pieces, {"choices": [], "governance": GOVERNANCE}]
    fake.reply = (
        b"".join(f"data: {json.dumps({**CHUNK, **chunk})}\n\n".encode() for chunk in chunks) + b"data: [DONE]\n\n"
    )
    assert ask.main(["May I?", "--base_url", fake.url, "--stream"]) == 0
    assert capsys.readouterr().out.startswith("Please ask.\ndecision     escalate\n")


def test_a_server_that_hides_its_decision_is_no_error(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.reply = fake.reply.replace(b'"governance"', b'"other"')
    assert ask.main(["May I?", "--base_url", fake.url]) == 0
    assert "not shown" in capsys.readouterr().out


def test_a_refusal_is_shown_in_the_server_s_words(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.status, fake.reply = 403, json.dumps({"error": {"message": "no telemetry from you"}}).encode()
    assert ask.main(["May I?", "--base_url", fake.url]) == 2
    assert capsys.readouterr().err == "error: the server refused the request (403): no telemetry from you\n"


def test_malformed_telemetry_is_refused_before_the_server_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask.main(["May I?", "--telemetry", "trist=1"]) == 2
    assert "did you mean 'trust'" in capsys.readouterr().err


def test_no_server_at_the_address_says_how_to_start_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask.main(["May I?", "--base_url", "http://127.0.0.1:9/v1"]) == 2
    assert "promethios serve" in capsys.readouterr().err
