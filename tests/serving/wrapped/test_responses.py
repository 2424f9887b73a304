"""POST /v1/responses in wrapped mode."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from promethios_serving.openai_errors import RequestRefused
from promethios_serving.wrapped.responses import Responses
from tests.serving.wrapped.servers import ANSWER, COMPLETED, Exchange, Hub, MockUpstream, completion, response, said
from tests.serving.wrapped.servers import response_event as event

Wrapped = Callable[..., Any]
ROUTE = "/v1/responses"
RESPONSES = Responses()
LOW_TRUST = "trust: 0.1\nverify: 0.9\nattest: 0.9\nbound: 0.9\n"
HAND_OVER = "I am handing this over to a colleague, who will take it from here."
CALL = {"type": "function_call", "call_id": "c1", "name": "wire_money", "arguments": '{"eur": 5}'}


def client(http: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{http.base_url}/v1", api_key="x", max_retries=0)


def asked(**more: Any) -> Any:
    return {"model": "any", "input": "When does water boil?", **more}


def test_openai_python_gets_the_answer_and_its_decision(wrapped: Wrapped, upstream: MockUpstream) -> None:
    with wrapped() as http:
        whole = client(http).responses.create(**asked(instructions="Be brief."))
        events = list(client(http).responses.create(**asked(stream=True)))
    assert whole.output_text == ANSWER
    assert whole.model_extra is not None and whole.model_extra["governance"]["decision"] == "answer"
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == "Water boils."
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.model_extra is not None and last.response.model_extra["governance"]["decision"] == "answer"
    assert [exchange.path for exchange in upstream.exchanges] == [ROUTE, ROUTE]


def test_the_block_heads_the_input_and_not_the_instructions_which_a_response_repeats(
    wrapped: Wrapped, upstream: MockUpstream
) -> None:
    part = {"type": "input_text", "text": "Be kind."}
    developer, user = {"role": "developer", "content": [part]}, {"role": "user", "content": "Hi"}
    with wrapped() as http:
        for said_input, instructions in (("Hi", None), ("Hi", "Be brief."), ([developer, user, CALL], "Be brief.")):
            reply = http.post(ROUTE, json=asked(input=said_input, instructions=instructions, top_p=0.5))
            assert reply.status_code == 200, reply.text
    plain, brief, parts = (body["input"] for body in upstream.bodies)
    assert not any("instructions" in body for body in upstream.bodies)
    assert all(body["top_p"] == 0.5 for body in upstream.bodies)
    assert plain[0]["role"] == "system" and plain[0]["content"].startswith("[governance gov-")
    assert brief[0]["content"].startswith("Be brief.\n\n[governance gov-")
    assert plain[1:] == brief[1:] == [user]
    assert parts[0] == {"role": "system", "content": "Be brief."}
    assert parts[1]["content"][0] == part and parts[1]["content"][1]["type"] == "input_text"
    assert parts[1]["content"][1]["text"].startswith("[governance gov-")
    assert parts[2:] == [user, CALL]


@pytest.mark.parametrize("stream", [False, True])
def test_low_trust_hands_over_and_the_review_has_conversation_and_answer(
    wrapped: Wrapped, upstream: MockUpstream, hub: Hub, telemetry_file: Path, tmp_path: Path, stream: bool
) -> None:
    telemetry_file.write_text(LOW_TRUST, encoding="utf-8")
    with wrapped(hub_url=hub.url, spool_dir=tmp_path / "spool") as http:
        reply: Any = client(http).responses.create(**asked(instructions="Be brief.", stream=stream))
        if stream:
            *events, last = list(reply)
            assert [e.sequence_number for e in events] == list(range(len(events)))
            assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == HAND_OVER
            reply = last.response
        _, review = hub.wait_for(2, "reviews")
    assert reply.output_text == HAND_OVER
    assert (reply.status, reply.instructions) == ("completed", "Be brief.")
    assert reply.model_extra["governance"]["decision"] == "escalate"
    assert review["response"] == HAND_OVER
    assert [message["content"] for message in review["messages"]] == ["Be brief.", "When does water boil?"]
    assert upstream.exchanges == []


@pytest.mark.parametrize("stream", [False, True])
def test_an_audited_answer_is_recorded_with_its_text(wrapped: Wrapped, hub: Hub, tmp_path: Path, stream: bool) -> None:
    with wrapped(hub_url=hub.url, spool_dir=tmp_path / "spool", audit_rate=1.0) as http:
        assert http.post(ROUTE, json=asked(stream=stream)).status_code == 200
        (record,) = hub.wait_for(1, "reviews")
    assert record["response"] == ("Water boils." if stream else ANSWER)


def test_the_self_check_judges_the_conversation_in_a_chat(wrapped: Wrapped, upstream: MockUpstream) -> None:
    async def reply(exchange: Exchange) -> None:
        if exchange.path.endswith("/responses"):
            await exchange.json(response())
        else:
            await exchange.json(completion(json.dumps({"decision": "caveat", "escalation_probability": 0.2})))

    upstream.reply = reply
    with wrapped(self_check=True) as http:
        field = http.post(ROUTE, json=asked(instructions="Be brief.")).json()["governance"]
    assert (field["decision"], field["probability"]) == ("caveat", 0.2)
    question, _ = upstream.bodies
    assert "When does water boil?" in question["messages"][1]["content"]
    assert "Be brief." in question["messages"][1]["content"]


def test_a_stream_that_is_cut_ends_in_an_error_that_openai_python_raises(
    wrapped: Wrapped, upstream: MockUpstream
) -> None:
    async def cut(exchange: Exchange) -> None:
        await exchange.events(said("Water "), said("event: response.completed\n"))

    upstream.reply = cut
    with wrapped() as http:
        stream = client(http).responses.create(**asked(stream=True))
        assert next(stream).type == "response.output_text.delta"
        with pytest.raises(openai.APIError, match="ended before it was complete"):
            list(stream)


@pytest.mark.parametrize("last", ["response.incomplete", "response.failed"])
def test_a_response_may_end_in_other_ways(wrapped: Wrapped, upstream: MockUpstream, last: str) -> None:
    async def reply(exchange: Exchange) -> None:
        await exchange.events(said("Water "), event(last, response=response(status=last.partition(".")[2])))

    upstream.reply = reply
    with wrapped() as http:
        *_, end = list(client(http).responses.create(**asked(stream=True)))
    assert end.type == last and end.response.model_extra["governance"]["decision"] == "answer"


@pytest.mark.parametrize("content", [b"no json", b"[]", b"{}", json.dumps(completion()).encode()])
def test_what_is_no_response_is_a_502(wrapped: Wrapped, upstream: MockUpstream, content: bytes) -> None:
    async def reply(exchange: Exchange) -> None:
        await exchange.json(content)

    upstream.reply = reply
    with wrapped() as http:
        refused = http.post(ROUTE, json=asked())
    assert (refused.status_code, refused.json()["error"]["code"]) == (502, "upstream_garbage")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": [1]}, "input"),
        ({"instructions": 7}, "instructions"),
    ],
)
def test_a_request_that_asks_nothing_is_refused(
    wrapped: Wrapped, upstream: MockUpstream, change: dict[str, Any], param: str
) -> None:
    with wrapped() as http:
        refused = http.post(ROUTE, json=asked(**change))
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    assert upstream.exchanges == []


def test_texts_and_tool_calls_are_heard_whole_and_bit_by_bit() -> None:
    whole = {"output": [{"type": "reasoning", "summary": []}, *response()["output"], CALL]}
    heard = [piece.text for piece in RESPONSES.spoken(json.dumps(whole).encode())]
    assert heard == [ANSWER, '[call wire_money: {"eur": 5}]']
    call = event("response.output_item.added", item=CALL | {"arguments": ""})
    bits = [event("response.function_call_arguments.delta", delta=bit) for bit in ('{"eur":', " 5}")]
    refusal = event("response.refusal.delta", delta="No.")
    done = event("response.output_text.done", text="Now. ")
    heard = [piece.text for piece in RESPONSES.spoken(b"".join([said("Now. "), done, call, *bits, refusal, COMPLETED]))]
    assert "".join(heard) == 'Now. [call wire_money] {"eur": 5}No.'
    assert RESPONSES.spoken(b"no json") == RESPONSES.spoken(b'{"output": 3}') == RESPONSES.spoken(b"data: 3\n\n") == []


def test_tokens_are_those_that_the_upstream_says() -> None:
    assert RESPONSES.tokens(json.dumps(response()).encode()) == 50
    assert RESPONSES.tokens(b'{"output": []}') == 0
    assert RESPONSES.tokens_in_events(said("a") + COMPLETED) == 50
    assert RESPONSES.tokens_in_events(said('"total_tokens"')) == 0
    with pytest.raises(RequestRefused):
        RESPONSES.tokens(b'{"output": [], "usage": 7}')
