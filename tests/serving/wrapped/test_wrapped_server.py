from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from promethios_serving.settings import Settings
from tests.serving.wrapped.servers import (
    ANSWER,
    DONE,
    Exchange,
    MockUpstream,
    chat,
    completion,
    event,
    serving,
)

Wrapped = Callable[..., Any]
ROUTE = "/v1/chat/completions"


def error_of(response: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def sse(response: httpx.Response) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


# --- what a client gets


def test_good_telemetry_lets_the_upstream_answer_and_the_field_says_uncertified(
    wrapped: Wrapped, upstream: MockUpstream
) -> None:
    with wrapped() as client:
        response = client.post(ROUTE, json=chat())
    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == ANSWER
    governance = response.json()["governance"]
    assert governance["decision"] == response.headers["x-promethios-decision"] == "answer"
    assert governance["certified"] is False
    assert governance["id"].startswith("gov-")
    assert not governance["degraded"]


def test_a_stream_is_passed_through_and_tells_the_decision_before_its_end(wrapped: Wrapped) -> None:
    with wrapped() as client:
        response = client.post(ROUTE, json=chat(stream=True))
    *chunks, governance, done = sse(response)
    assert [chunk["choices"][0]["delta"]["content"] for chunk in chunks] == ["Water ", "boils."]
    assert governance["governance"]["decision"] == "answer"
    assert governance["choices"] == []
    assert done == "[DONE]"


def test_events_arrive_one_by_one_while_the_upstream_still_writes(wrapped: Wrapped, upstream: MockUpstream) -> None:
    received = threading.Event()

    async def reply(exchange: Exchange) -> None:
        await exchange.head(200, "text/event-stream")
        await exchange.chunk(event("first"))
        assert await asyncio.to_thread(received.wait, 10), "the first event was held back"
        await exchange.chunk(event("second") + DONE)
        await exchange.chunk(b"")

    upstream.reply = reply
    with wrapped() as client, client.stream("POST", ROUTE, json=chat(stream=True)) as response:
        pieces = response.iter_text()
        assert "first" in next(pieces)
        received.set()
        assert "second" in "".join(pieces)


def test_events_cut_anywhere_and_with_carriage_returns_are_the_same_events(
    wrapped: Wrapped, upstream: MockUpstream
) -> None:
    whole = (event("a") + event("b") + DONE).replace(b"\n", b"\r\n")

    async def reply(exchange: Exchange) -> None:
        await exchange.events(*(whole[i : i + 1] for i in range(len(whole))))

    upstream.reply = reply
    with wrapped() as client:
        chunks = sse(client.post(ROUTE, json=chat(stream=True)))
    assert [chunk["choices"][0]["delta"]["content"] for chunk in chunks[:2]] == ["a", "b"]
    assert chunks[-1] == "[DONE]" and "governance" in chunks[-2]


def test_openai_python_works_unchanged(wrapped: Wrapped) -> None:
    with wrapped() as http:
        client = openai.OpenAI(base_url=f"{http.base_url}/v1", api_key="x", max_retries=0)
        messages: Any = [{"role": "user", "content": "When does water boil?"}]
        whole = client.chat.completions.create(model="any", messages=messages)
        assert whole.choices[0].message.content == ANSWER
        assert whole.model_extra is not None and whole.model_extra["governance"]["decision"] == "answer"
        stream = client.chat.completions.create(model="any", messages=messages, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        assert text == "Water boils."


@pytest.mark.parametrize("stream", [False, True])
def test_low_trust_hands_over_without_a_word_to_the_upstream(
    wrapped: Wrapped, upstream: MockUpstream, telemetry_file: Path, stream: bool
) -> None:
    telemetry_file.write_text("trust: 0.6\nverify: 0.9\nattest: 0.9\nbound: 0.9\n", encoding="utf-8")
    with wrapped() as http:
        client = openai.OpenAI(base_url=f"{http.base_url}/v1", api_key="x", max_retries=0)
        asked: Any = {"model": "any", "messages": [{"role": "user", "content": "How much may I take?"}], "n": 2}
        asked |= {"extra_body": {"governance": {"domain": "healthcare"}}, "stream": stream}
        reply: Any = client.chat.completions.create(**asked)
        if stream:
            chunks = list(reply)
            texts = ["".join(c.delta.content or "" for x in chunks for c in x.choices if c.index == i) for i in (0, 1)]
            governance = chunks[-1].model_extra["governance"]
        else:
            texts = [choice.message.content for choice in reply.choices]
            governance = reply.model_extra["governance"]
    assert texts == ["I am handing this over to a clinician, who will take it from here."] * 2
    assert (governance["decision"], governance["probability"]) == ("escalate", 1.0)
    assert upstream.exchanges == []


def test_without_telemetry_an_answer_becomes_one_with_a_caveat(wrapped: Wrapped, upstream: MockUpstream) -> None:
    with wrapped(telemetry_file=None) as client:
        governance = client.post(ROUTE, json=chat()).json()["governance"]
    assert (governance["decision"], governance["degraded"]) == ("caveat", True)
    assert {"trust", "verify", "attest", "bound"} < set(governance["degraded_channels"])
    assert "say where the answer may not hold" in upstream.bodies[0]["messages"][0]["content"]


def test_the_status_shows_no_secret_of_a_url(wrapped: Wrapped, closed_port: int) -> None:
    secret = f"http://user:hunter2@127.0.0.1:{closed_port}"
    urls = {"upstream_url": f"{secret}/v1", "telemetry_url": f"{secret}/t?token=hunter2", "telemetry_file": None}
    with wrapped(**urls) as client:
        status = client.get("/v1/governance")
    assert status.json()["arms"][0]["url"] == f"http://127.0.0.1:{closed_port}/v1"
    assert status.json()["telemetry"]["error"].startswith(f"http://127.0.0.1:{closed_port}/t: ")
    assert "hunter2" not in status.text


def test_a_streamed_hand_over_tells_its_usage_when_asked(wrapped: Wrapped, telemetry_file: Path) -> None:
    telemetry_file.write_text("trust: 0.1\n", encoding="utf-8")
    with wrapped() as client:
        chunks = sse(client.post(ROUTE, json=chat(stream=True, stream_options={"include_usage": True})))
    (told,) = [chunk for chunk in chunks if isinstance(chunk, dict) and chunk.get("usage")]
    assert (told["choices"], told["usage"]["total_tokens"]) == ([], 0)


def test_the_status_shows_upstream_and_telemetry_but_no_key(wrapped: Wrapped) -> None:
    with wrapped(upstream_key="sk-secret") as client:
        response = client.get("/v1/governance")
    assert response.json()["certified"] is False
    assert response.json()["telemetry"]["channels"]["trust"]["stale"] is False
    assert "sk-secret" not in response.text


def test_models_are_the_upstreams_or_the_one_that_is_always_asked(wrapped: Wrapped, upstream: MockUpstream) -> None:
    async def models(exchange: Exchange) -> None:
        await exchange.json({"object": "list", "data": [{"id": "theirs", "object": "model"}]})

    upstream.reply = models
    with wrapped() as client:
        assert client.get("/v1/models").json()["data"][0]["id"] == "theirs"
    with wrapped(upstream_model="fixed") as client:
        assert client.get("/v1/models").json()["data"][0]["id"] == "fixed"


def test_decisions_and_refusals_are_counted_on_metrics(wrapped: Wrapped) -> None:
    with wrapped() as client:
        client.post(ROUTE, json=chat())
        client.post(ROUTE, content=b"{")
        text = client.get("/metrics").text
    assert 'promethios_decisions_total{decision="answer",domain="none"}' in text
    assert 'promethios_refused_requests_total{reason="bad_json"}' in text


# --- what the upstream sees


def test_the_upstream_sees_its_own_key_and_model_and_none_of_the_clients_headers(
    wrapped: Wrapped, upstream: MockUpstream
) -> None:
    with wrapped(upstream_model="gpt-test", upstream_key="sk-upstream") as client:
        headers = {"authorization": "Bearer sk-client", "x-api-key": "sk-client", "cookie": "a=b", "x-other": "1"}
        client.post(ROUTE, json=chat(temperature=0.3, governance={"domain": "legal"}), headers=headers)
    (exchange,) = upstream.exchanges
    assert exchange.headers["authorization"] == "Bearer sk-upstream"
    assert "sk-client" not in str(exchange.headers)
    assert {"x-api-key", "cookie", "x-other"}.isdisjoint(exchange.headers)
    assert exchange.body["model"] == "gpt-test"
    assert exchange.body["temperature"] == 0.3
    assert "governance" not in exchange.body


def test_connections_to_the_upstream_are_kept(wrapped: Wrapped, upstream: MockUpstream) -> None:
    with wrapped() as client:
        for _ in range(5):
            client.post(ROUTE, json=chat())
            client.post(ROUTE, json=chat(stream=True))
    assert len(upstream.exchanges) == 10
    assert upstream.connections == 1


# --- the self-check


def verdict(decision: str, probability: Any) -> dict[str, Any]:
    return completion(json.dumps({"decision": decision, "escalation_probability": probability}))


def self_checked(first: Any) -> Callable[[Exchange], Any]:
    async def reply(exchange: Exchange) -> None:
        is_check = "Reply with one JSON object" in exchange.body["messages"][0]["content"]
        await exchange.json(first if is_check else completion())

    return reply


@pytest.mark.parametrize(
    ("said", "probability", "decision"),
    [
        ("answer", 0.1, "answer"),
        ("clarify", 0.1, "clarify"),
        ("caveat", 0.39, "caveat"),
        ("answer", 0.4, "escalate"),
        ("escalate", 0.0, "escalate"),
    ],
)
def test_a_verdict_decides_by_word_and_by_the_domains_threshold(
    wrapped: Wrapped, upstream: MockUpstream, said: str, probability: float, decision: str
) -> None:
    upstream.reply = self_checked(verdict(said, probability))
    with wrapped(self_check=True) as client:
        response = client.post(ROUTE, json=chat())
    assert response.json()["governance"]["decision"] == decision
    assert len(upstream.exchanges) == (1 if decision == "escalate" else 2)


def test_a_verdict_cannot_undo_what_the_telemetry_says(
    wrapped: Wrapped, upstream: MockUpstream, telemetry_file: Path
) -> None:
    telemetry_file.write_text("trust: 0.1\n", encoding="utf-8")
    upstream.reply = self_checked(verdict("answer", 0.0))
    with wrapped(self_check=True) as client:
        assert client.post(ROUTE, json=chat()).json()["governance"]["decision"] == "escalate"
    assert upstream.exchanges == []  # what is escalated anyway is shown to no upstream


@pytest.mark.parametrize(
    "reply",
    [
        completion("I would answer."),
        completion(None),
        completion(""),
        completion('{"decision": "answer"}'),
        completion('{"decision": "maybe", "escalation_probability": 0.1}'),
        completion('{"decision": ["answer"], "escalation_probability": 0.1}'),
        completion("[]"),
        completion("[" * 100_000),
        verdict("answer", 1.5),
        verdict("answer", "0.1"),
        verdict("answer", True),
        verdict("answer", float("nan")),
        {"choices": []},
        [],
        b"no json",
    ],
    ids=range(15),
)
def test_a_bad_verdict_fails_closed(wrapped: Wrapped, upstream: MockUpstream, reply: Any) -> None:
    upstream.reply = self_checked(reply)
    with wrapped(self_check=True) as client:
        response = client.post(ROUTE, json=chat())
        assert (response.status_code, error_of(response)["code"]) == (503, "gate_failed")
    with wrapped(self_check=True, on_gate_failure="escalate") as client:
        governance = client.post(ROUTE, json=chat()).json()["governance"]
        assert (governance["decision"], governance["probability"]) == ("escalate", None)


def test_a_self_check_without_an_upstream_fails_closed(wrapped: Wrapped, upstream: MockUpstream) -> None:
    async def broken(exchange: Exchange) -> None:
        await exchange.json({"error": {"message": "overloaded"}}, 500)

    upstream.reply = broken
    with wrapped(self_check=True) as client:
        assert error_of(client.post(ROUTE, json=chat()))["code"] == "gate_failed"


# --- an upstream that fails


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as held:  # bound and never listening: nobody else takes it, and it refuses connections
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_an_upstream_that_is_down_is_a_502(wrapped: Wrapped, closed_port: int) -> None:
    with wrapped(upstream_url=f"http://127.0.0.1:{closed_port}/v1") as client:
        response = client.post(ROUTE, json=chat())
        assert client.get("/health").status_code == 200
    assert (response.status_code, error_of(response)["code"]) == (502, "upstream_unreachable")
    assert str(closed_port) not in response.text


def test_an_upstream_that_does_not_answer_is_a_504(wrapped: Wrapped, upstream: MockUpstream) -> None:
    async def silent(exchange: Exchange) -> None:
        while not exchange.writer.transport.is_closing():
            await asyncio.sleep(0.01)

    upstream.reply = silent
    with wrapped(upstream_timeout_s=0.2) as client:
        response = client.post(ROUTE, json=chat())
    assert (response.status_code, error_of(response)["code"]) == (504, "upstream_timeout")
    assert len(upstream.exchanges) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 301, 204, 401, 403])
def test_an_upstream_that_fails_is_a_502_in_openais_shape(
    wrapped: Wrapped, upstream: MockUpstream, status: int
) -> None:
    async def failing(exchange: Exchange) -> None:
        await exchange.json(b"<html>secret stack trace</html>" if status != 204 else b"", status, location="http://x/")

    upstream.reply = failing
    with wrapped() as client:
        response = client.post(ROUTE, json=chat())
    assert (response.status_code, error_of(response)["code"]) == (502, "upstream_error")
    assert "secret" not in response.text
    assert len(upstream.exchanges) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_upstream_finds_wrong_with_a_request_is_passed_on(
    wrapped: Wrapped, upstream: MockUpstream, stream: bool
) -> None:
    async def refusing(exchange: Exchange) -> None:
        error = {"message": "temperature must be at most 2", "type": "x", "param": "temperature", "code": "y"}
        await exchange.json({"error": error}, 400)

    upstream.reply = refusing
    with wrapped() as client:
        response = client.post(ROUTE, json=chat(temperature=3, stream=stream))
    assert response.status_code == 400
    error = error_of(response)
    assert (error["message"], error["param"]) == ("temperature must be at most 2", "temperature")


@pytest.mark.parametrize(
    "garbage", [b"", b"no json", b"[]", b"null", b'{"id": 1}', b'{"choices": null}', b"[" * 200_000, b"\xff\xfe"]
)
def test_garbage_is_a_502(wrapped: Wrapped, upstream: MockUpstream, garbage: bytes) -> None:
    async def reply(exchange: Exchange) -> None:
        await exchange.json(garbage)

    upstream.reply = reply
    with wrapped() as client:
        response = client.post(ROUTE, json=chat())
    assert (response.status_code, error_of(response)["code"]) == (502, "upstream_garbage")


def test_an_answer_of_the_other_kind_is_garbage(wrapped: Wrapped, upstream: MockUpstream) -> None:
    async def events(exchange: Exchange) -> None:
        await exchange.events(event("x"), DONE)

    upstream.reply = events
    with wrapped() as client:
        assert error_of(client.post(ROUTE, json=chat()))["code"] == "upstream_garbage"


def test_a_json_reply_that_is_cut_off_is_a_502(wrapped: Wrapped, upstream: MockUpstream) -> None:
    async def cut(exchange: Exchange) -> None:
        await exchange.head(200, "application/json", 1000)
        await exchange.send(b'{"choices": [')
        exchange.hang_up()

    upstream.reply = cut
    with wrapped() as client:
        response = client.post(ROUTE, json=chat())
    assert (response.status_code, error_of(response)["code"]) == (502, "upstream_cut_off")
    assert len(upstream.exchanges) == 1


@pytest.mark.parametrize("politely", [True, False])
def test_a_stream_that_is_cut_ends_in_an_error_that_openai_python_raises(
    wrapped: Wrapped, upstream: MockUpstream, politely: bool
) -> None:
    async def cut(exchange: Exchange) -> None:
        await exchange.head(200, "text/event-stream")
        await exchange.chunk(event("Water ") + b'data: {"id": "chatcm')
        if politely:
            await exchange.chunk(b"")
        else:
            exchange.hang_up()

    upstream.reply = cut
    with wrapped() as http:
        client = openai.OpenAI(base_url=f"{http.base_url}/v1", api_key="x", max_retries=0)
        stream = client.chat.completions.create(**chat(), stream=True)
        assert next(stream).choices[0].delta.content == "Water "
        with pytest.raises(openai.APIError, match="ended before it was complete"):
            list(stream)


def test_a_kept_connection_that_the_upstream_closed_is_tried_again_once(
    wrapped: Wrapped, upstream: MockUpstream
) -> None:
    async def closes_after(exchange: Exchange) -> None:
        if len(upstream.exchanges) == 2:
            exchange.hang_up()
        else:
            await exchange.json(completion())

    upstream.reply = closes_after
    with wrapped() as client:
        assert client.post(ROUTE, json=chat()).status_code == 200
        assert client.post(ROUTE, json=chat()).status_code == 200
    assert len(upstream.exchanges) == 3


def test_an_upstream_that_always_hangs_up_is_asked_twice_and_no_more(wrapped: Wrapped, upstream: MockUpstream) -> None:
    async def hangs_up(exchange: Exchange) -> None:
        exchange.hang_up()

    upstream.reply = hangs_up
    with wrapped() as client:
        assert error_of(client.post(ROUTE, json=chat()))["code"] == "upstream_unreachable"
    assert len(upstream.exchanges) == 2


# --- a client that goes away


@pytest.mark.parametrize("stream", [False, True])
def test_the_upstream_is_cancelled_when_the_client_leaves(
    upstream: MockUpstream, telemetry_file: Path, tmp_path: Path, stream: bool
) -> None:
    asked = threading.Event()

    async def endless(exchange: Exchange) -> None:
        asked.set()
        await exchange.head(200, "text/event-stream" if stream else "application/json")
        while not exchange.writer.transport.is_closing():
            await exchange.chunk(event("word ") if stream else b" ")
            await asyncio.sleep(0.01)

    upstream.reply = endless
    settings = Settings(upstream_url=upstream.url, telemetry_file=telemetry_file, drain_file=tmp_path / "drain")
    with serving(settings) as url:
        host, port = url.removeprefix("http://").split(":")
        body = json.dumps(chat(stream=stream)).encode()
        with socket.create_connection((host, int(port))) as client:
            client.sendall(
                b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (ROUTE.encode(), len(body)) + body
            )
            assert asked.wait(10)
        assert upstream.exchanges[0].closed.wait(10), "the upstream still works for a client that left"


# --- what is not served


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/completions"),
        ("POST", "/v1/messages"),
        ("POST", "/v1/embeddings"),
        ("GET", "/v1/chat/completions"),
        ("POST", "//v1/chat/completions"),
        ("POST", "/v1/chat/completions/"),
        ("GET", "/"),
    ],
)
def test_every_other_route_is_closed(wrapped: Wrapped, upstream: MockUpstream, method: str, path: str) -> None:
    with wrapped() as client:
        response = client.request(method, f"{client.base_url}{path}".replace("/" + path, path), json=chat())
    assert (response.status_code, error_of(response)["code"]) == (404, "closed_route")
    assert error_of(response)["message"].endswith("ask POST /v1/chat/completions or /v1/responses")
    assert upstream.exchanges == []


@pytest.mark.parametrize("messages", [None, [], "hi", [1], {}, [[]]])
def test_messages_that_are_none_are_refused(wrapped: Wrapped, upstream: MockUpstream, messages: Any) -> None:
    with wrapped() as client:
        response = client.post(ROUTE, json={"model": "any", "messages": messages})
    assert (response.status_code, error_of(response)["param"]) == (400, "messages")
    assert upstream.exchanges == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("echo", True),
        ("prompt_logprobs", 0),
        ("return_prompt_text", True),
        ("return_token_ids", True),
        ("enable_response_messages", True),
    ],
)
def test_nothing_makes_the_upstream_repeat_what_it_was_told(
    wrapped: Wrapped, upstream: MockUpstream, name: str, value: Any
) -> None:
    with wrapped() as client:
        refused = [
            client.post(ROUTE, json=chat(**{name: value})),
            client.post("/v1/responses", json={"model": "any", "input": "Hi", name: value}),
        ]
        assert upstream.exchanges == []
        assert client.post(ROUTE, json=chat(**{name: None})).status_code == 200
    assert [(reply.status_code, error_of(reply)["param"]) for reply in refused] == [(400, name)] * 2


def test_a_body_that_is_too_large_is_refused(wrapped: Wrapped) -> None:
    with wrapped(max_body_bytes=1000) as client:
        assert client.post(ROUTE, json=chat("x" * 2000)).status_code == 413


def test_the_telemetry_is_read_again_while_the_server_runs(wrapped: Wrapped, telemetry_file: Path) -> None:
    with wrapped() as client:
        assert client.post(ROUTE, json=chat()).json()["governance"]["decision"] == "answer"
        telemetry_file.write_text("trust: 0.1\n", encoding="utf-8")
        deadline = time.monotonic() + 10
        while client.post(ROUTE, json=chat()).json()["governance"]["decision"] != "escalate":
            assert time.monotonic() < deadline


# --- draining


def test_a_draining_server_is_not_ready_and_closes_connections_but_answers(wrapped: Wrapped, tmp_path: Path) -> None:
    with wrapped() as client:
        assert client.get("/ready").json() == {"ready": True, "draining": False, "in_flight": 0}
        assert "connection" not in client.post(ROUTE, json=chat()).headers
        (tmp_path / "drain").touch()
        assert client.get("/ready").status_code == 503
        response = client.post(ROUTE, json=chat(stream=True))
        assert response.headers["connection"] == "close"
        assert sse(response)[-1] == "[DONE]"


def test_a_server_that_is_told_to_end_finishes_its_streams(
    upstream: MockUpstream, telemetry_file: Path, tmp_path: Path
) -> None:
    release = threading.Event()

    async def slow(exchange: Exchange) -> None:
        await exchange.head(200, "text/event-stream")
        await exchange.chunk(event("first "))
        await asyncio.to_thread(release.wait, 10)
        await exchange.chunk(event("last") + DONE)
        await exchange.chunk(b"")

    upstream.reply = slow
    settings = Settings(upstream_url=upstream.url, telemetry_file=telemetry_file, drain_file=tmp_path / "drain")
    with httpx.Client(timeout=20) as client, ExitStack() as server:
        url = server.enter_context(serving(settings))
        response = client.send(client.build_request("POST", url + ROUTE, json=chat(stream=True)), stream=True)
        pieces = response.iter_text()
        text = next(pieces)
        ending = threading.Thread(target=server.pop_all().close)
        ending.start()
        release.set()
        text += "".join(pieces)
        ending.join()
    assert "last" in text and text.endswith("data: [DONE]\n\n")
