from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY

from promethios.telemetry.state import GovernanceState
from promethios_serving.governed_requests import GovernedRequests
from promethios_serving.request_context import CURRENT, GovernedRequest, Outcome
from promethios_serving.telemetry.signed import SignedState
from promethios_serving.telemetry.subject import EVERYBODY

Call = Callable[..., Any]
KEY = {"x-promethios-telemetry-key": "secret"}


class Upstream:
    """The rest of the server: keeps the body and the context that it sees."""

    body: Any = None
    length = ""
    request: GovernedRequest | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.body = json.loads((await receive())["body"])
        self.length = dict(scope["headers"]).get(b"content-length", b"").decode()
        self.request = CURRENT.get()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


def ask(call: Call, upstream: Upstream, body: Any, **kwargs: Any) -> Any:
    return call(GovernedRequests(upstream, "general", "secret"), "/v1/chat/completions", body, **kwargs)


def seen(upstream: Upstream) -> GovernedRequest:
    assert upstream.request is not None
    return upstream.request


def test_the_governance_field_goes_into_the_context_and_not_to_vllm(call: Call, upstream: Upstream) -> None:
    field = {"domain": "healthcare", "telemetry": {"trust": 0.3}}
    ask(call, upstream, {"messages": [], "governance": field}, headers={**KEY, "content-length": "999"})
    assert upstream.body == {"messages": []}
    assert upstream.length == str(len(json.dumps({"messages": []})))
    assert seen(upstream).domain == "healthcare"
    assert seen(upstream).telemetry == GovernanceState.of(trust=0.3)


def test_telemetry_may_be_tags(call: Call, upstream: Upstream) -> None:
    ask(call, upstream, {"governance": {"telemetry": "<gov:emotion=CALM>"}}, headers=KEY)
    assert seen(upstream).telemetry == GovernanceState.of(emotion="CALM")


def test_the_field_wins_over_the_header_and_the_header_over_the_default(call: Call, upstream: Upstream) -> None:
    header = {"x-promethios-domain": "legal"}
    ask(call, upstream, {"governance": {"domain": "finance"}}, headers=header)
    assert seen(upstream).domain == "finance"
    ask(call, upstream, {}, headers=header)
    assert seen(upstream).domain == "legal"
    ask(call, upstream, {"governance": None})
    assert seen(upstream).domain == "general"


def test_every_request_has_its_own_context_and_leaves_none_behind(call: Call, upstream: Upstream) -> None:
    ask(call, upstream, {})
    first = seen(upstream)
    ask(call, upstream, {})
    assert first.id != seen(upstream).id
    assert CURRENT.get() is None


def test_a_route_that_is_not_governed_gets_no_context(call: Call, upstream: Upstream) -> None:
    call(GovernedRequests(upstream, None, None), "/tokenize", {"governance": 1})
    assert upstream.request is None
    assert upstream.body == {"governance": 1}


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        (b"{", 400, "bad_json", "not valid JSON"),
        (b"[1]", 400, "bad_json", "must be a JSON object"),
        (b"[" * 100_000, 400, "bad_json", "nested too deeply"),
        (
            b'{"messages": [{"role": "user", "content": ' + b'[{"text": ' * 400 + b'"x"' + b"}]" * 400 + b"}]}",
            400,
            "bad_json",
            "nested too deeply",
        ),
        ({"governance": 3}, 400, "bad_governance", "must be an object"),
        ({"governance": {"domian": "legal"}}, 400, "bad_governance", "did you mean 'domain'"),
        ({"governance": {"domain": "helthcare"}}, 400, "bad_domain", "did you mean 'healthcare'"),
        ({"governance": {"domain": ["legal"]}}, 400, "bad_domain", "must be a text"),
        ({"governance": {"telemetry": {"trust": "high"}}}, 400, "bad_telemetry", "trust='high'"),
        ({"governance": {"telemetry": "<gov:trust=0.3"}}, 400, "bad_telemetry", "character 0"),
        ({"governance": {"telemetry": [0.3]}}, 400, "bad_telemetry", "must be a mapping"),
        ({"use_beam_search": True}, 400, "unsupported", "beam search"),
        ({"background": True}, 400, "unsupported", "background"),
        ({"prompt": ["a", "b"]}, 400, "unsupported", "2 prompts"),
        ({"prompt": [[1], [2]]}, 400, "unsupported", "2 prompts"),
        ({"input": ["a", {"role": "assistant", "content": []}]}, 400, "unsupported", "input[1].content is empty"),
    ],
)
def test_a_malformed_request_is_refused_and_counted(
    call: Call, upstream: Upstream, body: Any, status: int, code: str, said: str
) -> None:
    before = REGISTRY.get_sample_value("promethios_refused_requests_total", {"reason": code}) or 0.0
    reply = ask(call, upstream, body, headers=KEY)
    assert (reply.status, reply.json()["error"]["code"]) == (status, code)
    assert said in reply.json()["error"]["message"]
    assert upstream.body is None
    assert REGISTRY.get_sample_value("promethios_refused_requests_total", {"reason": code}) == before + 1


@pytest.mark.parametrize(
    "headers", [{}, {"x-promethios-telemetry-key": "guess"}, {"x-promethios-telemetry-key": "\xff"}]
)
def test_telemetry_from_a_caller_without_the_key_is_refused(call: Call, upstream: Upstream, headers: Any) -> None:
    reply = ask(call, upstream, {"governance": {"telemetry": {"trust": 1.0}}}, headers=headers)
    assert (reply.status, reply.json()["error"]["code"]) == (403, "untrusted_telemetry")
    assert upstream.body is None


def test_without_a_key_on_the_server_nobody_may_send_telemetry(call: Call, upstream: Upstream) -> None:
    app = GovernedRequests(upstream, None, None)
    reply = call(app, "/v1/responses", {"governance": {"telemetry": {"trust": 1.0}}}, headers=KEY)
    assert reply.status == 403
    assert "PROMETHIOS_TELEMETRY_KEY" in reply.json()["error"]["message"]


class Used:
    """Signed telemetry that takes any token, and counts how often each was given back."""

    def __init__(self) -> None:
        self.given_back = 0

    def verified(self, token: str) -> SignedState:
        return SignedState(GovernanceState.of(trust=0.9), EVERYBODY, ("key", token))

    def give_back(self, token: tuple[str, str]) -> None:
        self.given_back += 1


@pytest.mark.parametrize(
    ("status", "decided", "given_back"),
    [
        *((status, False, 1) for status in (200, 400, 429, 500, 503, 504, None)),
        *((status, True, 0) for status in (200, 400, 500, 502, None)),
        (503, True, 1),
    ],
)
def test_a_token_is_given_back_once_when_nothing_was_decided(
    call: Call, status: int | None, decided: bool, given_back: int
) -> None:
    signed = Used()
    before: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = CURRENT.get()
        assert request is not None
        if decided:
            request.outcome = Outcome(decision="answer", probability=0.1, threshold=0.4, degraded=False)
        if status is not None:
            await send({"type": "http.response.start", "status": status, "headers": []})
            before.append(signed.given_back)
            await send({"type": "http.response.body", "body": b""})

    governed = GovernedRequests(app, None, None, signed)  # type: ignore[arg-type]
    call(governed, "/v1/chat/completions", {"messages": []}, headers={"x-promethios-telemetry": "t"})
    assert signed.given_back == given_back
    if status is not None and status >= 400:
        assert before == [given_back], "before the client can come again"


@pytest.mark.parametrize("prompt", ["a", [1, 2], ["a"], [[1, 2]]])
def test_one_prompt_in_any_form_is_let_through(call: Call, upstream: Upstream, prompt: Any) -> None:
    ask(call, upstream, {"prompt": prompt})
    assert upstream.body == {"prompt": prompt}
