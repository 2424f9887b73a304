from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from promethios.data.chat_endpoint import ChatEndpoint
from promethios.data.example import Example
from promethios.errors import DatasetError
from promethios.evaluation.chat_baseline import ChatBaseline, decision_in, question
from promethios.telemetry.state import GovernanceState, Reading


@dataclass
class Server:
    """An OpenAI-shaped server: what it was asked, and what it answers (by default what the user's text holds)."""

    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    reply: Callable[[dict[str, Any]], Any] = lambda request: completion("Escalate")


def completion(text: str | None) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            state.requests.append({**json.loads(content), "path": self.path})
            state.headers.append({name.lower(): value for name, value in self.headers.items()})
            status = state.failures.pop(0) if state.failures else 200
            body = json.dumps(state.reply(state.requests[-1]) if status == 200 else {"error": "the model is busy"})
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        state.url = f"http://127.0.0.1:{listening.server_port}/v1"
        yield state
        listening.shutdown()
        thread.join()


def test_each_example_is_asked_about_and_its_decision_counts_as_zero_or_one(
    server: Server, make_examples: Callable[[int, str], list[Example]]
) -> None:
    examples = make_examples(20, "test")
    server.reply = lambda request: completion("escalate" if "contradict" in str(request["messages"]) else "caveat")
    asked = ChatBaseline(ChatEndpoint(server.url, "some-model", key="secret"))
    found = asked.baseline().predict(examples)
    assert found.tolist() == [float("contradict" in example.prompt) for example in examples]
    assert asked.num_unreadable == 0
    assert {request["path"] for request in server.requests} == {"/v1/chat/completions"}
    assert {request["model"] for request in server.requests} == {"some-model"}
    assert server.headers[0]["authorization"] == "Bearer secret"


def test_a_reply_without_a_decision_counts_as_an_escalation_and_is_told(
    server: Server, make_examples: Callable[[int, str], list[Example]]
) -> None:
    server.reply = lambda request: completion(None)
    asked = ChatBaseline(ChatEndpoint(server.url, "mute"))
    assert asked.predict(make_examples(3, "test")).tolist() == [1.0, 1.0, 1.0]
    assert asked.note() == "3 replies of mute held none of the four words; read as escalate."
    assert "authorization" not in server.headers[0]


def test_a_refusal_is_not_tried_again(server: Server, make_examples: Callable[[int, str], list[Example]]) -> None:
    server.failures = [401] * 1000
    with pytest.raises(DatasetError, match=r"HTTP 401: the model is busy; .* --compare_key_variable"):
        ChatBaseline(ChatEndpoint(server.url, "m", key_option="--compare_key_variable")).predict(
            make_examples(50, "test")
        )
    assert len(server.requests) < 50, "what was still waiting was not sent"


@pytest.mark.parametrize(
    ("reply", "decision"),
    [
        ("Escalate.", "escalate"),
        ("**caveat**", "caveat"),
        ("<think>I could answer, or escalate.</think>\nclarify", "clarify"),
        ("I cannot say.", None),
        ("", None),
    ],
)
def test_the_decision_is_the_first_of_the_four_words_after_thinking(reply: str, decision: str | None) -> None:
    assert decision_in(reply) == decision


def test_the_question_puts_telemetry_and_conversation_into_words_without_the_response(
    make_examples: Callable[[int, str], list[Example]],
) -> None:
    state = GovernanceState(trust=Reading(0.72), verify=Reading(0.4, 600.0))
    example = replace(make_examples(1, "test")[0], state=state, header_domain="legal")
    system, user = question(example)
    assert "trust: 0.72 (0 s old, fresh)" in system["content"]
    assert "verify: 0.4 (600 s old, out of date)" in system["content"]
    assert "bound: missing" in system["content"]
    assert "a lawyer" in system["content"] and "0.80" in system["content"]
    assert user["content"] == f"user: {example.prompt}"
    nothing_known = question(replace(example, state=None, header_domain=None))[0]["content"]
    assert nothing_known.endswith("none") and "Domain: not stated" in nothing_known
