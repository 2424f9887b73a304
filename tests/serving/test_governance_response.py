from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promethios_serving.event_stream import EventStream
from promethios_serving.governance_response import GovernanceResponse, governance_field
from promethios_serving.openai_errors import RequestRefused
from promethios_serving.request_context import CURRENT, GovernedRequest, Outcome

Call = Callable[..., Any]
OUTCOME = Outcome(
    decision="caveat",
    probability=0.25,
    threshold=0.4,
    degraded=False,
    degraded_channels=("bound", "emotion"),
    scores=tuple(float(i) for i in range(18)),
    probabilities=(0.25, 0.5, 0.0, 0.25),
)
REFUSAL = RequestRefused(HTTPStatus.SERVICE_UNAVAILABLE, "gate_failed", "the gate failed")
CHUNK = {"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "promethios", "choices": [{"index": 0}]}
EVENTS = [f"data: {json.dumps(CHUNK)}\n\n".encode(), b'data: {"id": "c1", "choices": []}\n\n', b"data: [DONE]\n\n"]


class Upstream:
    """vLLM's route: decides or refuses before piece `at`, then sends the pieces."""

    def __init__(
        self, pieces: list[bytes], content_type: str, *, at: int = 0, refused: bool = False, status: int = 200
    ):
        self.pieces, self.content_type, self.at, self.refused, self.status = pieces, content_type, at, refused, status

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = CURRENT.get()
        assert request is not None
        headers = [(b"content-type", self.content_type.encode()), (b"content-length", b"1")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for index, piece in enumerate(self.pieces):
            if index == self.at:
                request.outcome, request.refusal = (None, REFUSAL) if self.refused else (OUTCOME, None)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def respond(call: Call, upstream: Upstream, expose: Any = "full") -> Any:
    app = GovernanceResponse(upstream, expose)

    async def governed(scope: Any, receive: Any, send: Any) -> None:
        CURRENT.set(
            GovernedRequest(route="/v1/chat/completions", domain="healthcare", domain_source="request", id="gov-1")
        )
        await app(scope, receive, send)

    return call(governed)


def stream(**kwargs: Any) -> Upstream:
    return Upstream(EVENTS, "text/event-stream; charset=utf-8", **kwargs)


def test_a_json_response_carries_the_decision_in_body_and_headers(call: Call) -> None:
    reply = respond(call, Upstream([b'{"choices"', b": []}"], "application/json"))
    assert reply.json() == {
        "choices": [],
        "governance": {
            "id": "gov-1",
            "decision": "caveat",
            "review_id": None,
            "probability": 0.25,
            "threshold": 0.4,
            "degraded": False,
            "degraded_channels": ["bound", "emotion"],
            "forced": False,
            "domain": "healthcare",
            "domain_source": "request",
        },
    }
    assert reply.headers["content-length"] == str(len(reply.body))
    assert (reply.headers["x-promethios-decision"], reply.headers["x-promethios-decision-id"]) == ("caveat", "gov-1")


@pytest.mark.parametrize("expose", ["full", "decision", "none", "scores"])
def test_what_is_exposed_is_a_setting(expose: Any) -> None:
    field = governance_field(GovernedRequest(route="r", outcome=OUTCOME), expose)
    names = set(field or {})
    assert ("decision" in names) == (expose != "none")
    assert ("probability" in names) == ("degraded_channels" in names) == (expose in ("full", "scores"))
    assert ("scores" in names) == (expose == "scores")
    assert ("principles" in names) == (expose == "scores")


def test_with_nothing_exposed_the_response_is_vllm_s_own(call: Call) -> None:
    reply = respond(call, Upstream([b'{"a": 1}'], "application/json"), "none")
    assert reply.body == b'{"a": 1}'
    assert not any(name.startswith("x-promethios") for name in reply.headers)


def test_an_error_of_vllm_passes_unchanged(call: Call) -> None:
    reply = respond(call, Upstream([b'{"error": 1}'], "application/json", status=400))
    assert (reply.status, reply.body) == (400, b'{"error": 1}')


def test_a_stream_ends_with_a_governance_chunk_before_done(call: Call) -> None:
    reply = respond(call, stream())
    events = reply.body.split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    chunk = json.loads(events[-3].removeprefix(b"data: "))
    assert chunk["governance"]["decision"] == "caveat"
    assert {name: chunk[name] for name in CHUNK} == {**CHUNK, "choices": []}


def test_a_stream_s_headers_wait_for_the_decision_and_its_pieces_do_not(call: Call) -> None:
    reply = respond(call, stream(at=1))
    assert reply.headers["x-promethios-decision"] == "caveat"
    assert reply.pieces[0] == EVENTS[0] + EVENTS[1]
    assert len(reply.pieces) > 2


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
def test_a_refused_request_gets_its_status_even_in_a_stream(call: Call, content_type: str) -> None:
    reply = respond(call, Upstream(EVENTS, content_type, at=1, refused=True))
    assert (reply.status, reply.json()["error"]["code"]) == (503, "gate_failed")


def test_a_request_that_is_not_governed_passes_untouched(call: Call) -> None:
    async def plain(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    assert call(GovernanceResponse(plain, "full")).body == b"x"


RESPONSES = (
    b'event: response.created\ndata: {"response": {"id": "r"}}\n\n'
    b'event: response.completed\ndata: {"response": {"id": "r"}, "type": "response.completed"}\n\n'
)


def test_the_last_event_of_a_responses_stream_has_the_field_in_its_response() -> None:
    out = EventStream({"decision": "answer"}).feed(RESPONSES, final=True)
    first, last, _ = out.split(b"\n\n")
    assert first == RESPONSES.split(b"\n\n")[0]
    content = json.loads(last.split(b"data: ")[1])
    assert content == {"response": {"id": "r", "governance": {"decision": "answer"}}, "type": "response.completed"}


def test_a_response_that_ends_in_done_as_well_has_the_field_once() -> None:
    out = EventStream({"decision": "answer"}).feed(RESPONSES + b"data: [DONE]\n\n", final=True)
    assert out.count(b"governance") == 1
    assert out.endswith(b"\n\ndata: [DONE]\n\n")


@pytest.mark.parametrize(
    "event",
    [
        b"data: {no json",
        b"event: response.completed\ndata: no json",
        b'event: response.completed\ndata: {"response": 3}',
        b"event: response.completed\nid: 7",
        b'event: message_start\ndata: {"type": "message_start"}',
    ],
)
def test_an_event_that_is_not_what_it_should_be_passes_unchanged(event: bytes) -> None:
    assert EventStream({"decision": "answer"}).feed(event + b"\n\n", final=True) == event + b"\n\n"


@given(st.lists(st.integers(1, 400), max_size=8), st.booleans())
def test_a_stream_is_rewritten_the_same_whatever_its_pieces(cuts: list[int], responses: bool) -> None:
    whole = RESPONSES if responses else b"".join(EVENTS)
    expected = EventStream({"decision": "answer"}).feed(whole, final=True)
    edges = [0, *sorted({cut for cut in cuts if cut < len(whole)}), len(whole)]
    rewriter = EventStream({"decision": "answer"})
    pieces = [rewriter.feed(whole[a:b], final=b == len(whole)) for a, b in itertools.pairwise(edges)]
    assert b"".join(pieces) == expected


def test_a_stream_of_messages_carries_the_decision_in_its_first_message() -> None:
    start = b'event: message_start\ndata: {"type": "message_start", "message": {"id": "m1"}}\n\n'
    rest = b'event: message_stop\ndata: {"type": "message_stop"}\n\n'
    out = EventStream({"decision": "caveat"}).feed(start + rest, final=True)
    first, last = out.removesuffix(b"\n\n").split(b"\n\n")
    assert json.loads(first.split(b"data: ")[1])["message"] == {"id": "m1", "governance": {"decision": "caveat"}}
    assert last + b"\n\n" == rest


@pytest.mark.parametrize("field", [None, {"decision": "caveat"}])
def test_reasoning_is_one_more_chunk_behind_the_first(field: Any) -> None:
    out = EventStream(field, "Is a fact missing? Yes.").feed(b"".join(EVENTS), final=True)
    chunks = [json.loads(event[6:]) for event in out.split(b"\n\n") if event.startswith(b"data: {")]
    assert chunks[1]["choices"][0]["delta"] == {"reasoning": "Is a fact missing? Yes."}
    assert chunks[1]["id"] == chunks[0]["id"]
    assert [chunk.get("governance") for chunk in chunks if "governance" in chunk] == ([field] if field else [])


def test_reasoning_stands_in_the_message_unless_the_operator_hides_the_decision(call: Call) -> None:
    whole = b'{"choices": [{"message": {"content": "Hello", "reasoning": null}}]}'
    for expose, shown in (("full", "Why? Because."), ("decision", None)):
        upstream = Upstream([whole], "application/json")

        async def thoughtful(
            scope: Any, receive: Any, send: Any, upstream: Any = upstream, expose: Any = expose
        ) -> None:
            CURRENT.set(
                GovernedRequest(route="/v1/chat/completions", self_questions=["Why? Because."], shows_reasoning=True)
            )
            await GovernanceResponse(upstream, expose)(scope, receive, send)

        reply = call(thoughtful).json()
        assert reply["choices"][0]["message"]["reasoning"] == shown
        assert reply["governance"]["self_questions"] == 1
