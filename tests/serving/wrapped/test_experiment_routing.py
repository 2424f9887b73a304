from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from promethios_serving.settings import Settings
from promethios_serving.wrapped.app import WrappedServer
from promethios_serving.wrapped.experiment import Experiment, assign, read_experiment, unit_of
from promethios_serving.wrapped.experiment_routing import ExperimentRouting
from tests.serving.wrapped.servers import (
    DONE,
    Exchange,
    Hub,
    MockUpstream,
    chat,
    completion,
    event,
    serving_app,
)  # fmt: skip

ROUTE = "/v1/chat/completions"
Start = Callable[..., Any]


@pytest.fixture
def experiment_file(tmp_path: Path) -> Path:
    return tmp_path / "experiment.yaml"


@pytest.fixture
def running(experiment_file: Path, telemetry_file: Path, hub: Hub) -> Callable[..., Any]:
    """Run an experiment: `with running("a: {...}", ...) as client`."""

    @contextmanager
    def start(*arms: str, **settings: Any) -> Iterator[httpx.Client]:
        lines = "\n".join(f"  {arm}" for arm in arms)
        experiment_file.write_text(f"name: test_experiment\narms:\n{lines}\n", encoding="utf-8")
        given = Settings(
            experiment_file=experiment_file,
            telemetry_file=telemetry_file,
            hub_url=hub.url,
            spool_dir=experiment_file.with_name("spool"),
            drain_file=experiment_file.with_name("drain"),
            **settings,
        )
        app = WrappedServer(given, {"ARM_KEY": "sk-arm"})
        with serving_app(app) as url, httpx.Client(base_url=url, timeout=20) as client:
            yield client

    return start


def asked(session: str, **more: Any) -> dict[str, Any]:
    return chat(governance={"subject": {"session": session}}, **more)


def sessions_of(path: Path, arm: str, count: int) -> list[str]:
    experiment: Experiment = read_experiment(path, {"ARM_KEY": "x"})
    names = (f"session-{i}" for i in range(1000))
    return [name for name in names if assign(experiment, unit_of(None, name)).name == arm][:count]


def test_sessions_are_shared_out_and_stay_with_their_arm(
    running: Start, upstream: MockUpstream, other_upstream: MockUpstream, experiment_file: Path
) -> None:
    arms = [f"a: {{weight: 1, upstream: '{upstream.url}'}}", f"b: {{weight: 1, upstream: '{other_upstream.url}'}}"]
    with running(*arms) as client:
        mine, theirs = sessions_of(experiment_file, "a", 3), sessions_of(experiment_file, "b", 3)
        for session in [*mine, *theirs, *mine]:
            assert client.post(ROUTE, json=asked(session)).status_code == 200
    assert len(upstream.exchanges) == 6
    assert len(other_upstream.exchanges) == 3


def test_the_session_may_stand_in_a_header(
    running: Start, upstream: MockUpstream, other_upstream: MockUpstream, experiment_file: Path
) -> None:
    arms = [f"a: {{weight: 1, upstream: '{upstream.url}'}}", f"b: {{weight: 1, upstream: '{other_upstream.url}'}}"]
    with running(*arms) as client:
        (session,) = sessions_of(experiment_file, "b", 1)
        client.post(ROUTE, json=chat(), headers={"x-promethios-session": session})
    assert len(other_upstream.exchanges) == 1


def test_a_wrapped_arm_is_governed_here_and_its_outcome_told(running: Start, upstream: MockUpstream, hub: Hub) -> None:
    prices = "input_usd_per_million: 2, output_usd_per_million: 8"
    with running(f"a: {{weight: 1, upstream: '{upstream.url}', model: m1, key_env: ARM_KEY, {prices}}}") as client:
        response = client.post(ROUTE, json=asked("s1"))
    assert response.json()["governance"]["certified"] is False
    assert upstream.exchanges[0].headers["authorization"] == "Bearer sk-arm"
    assert upstream.bodies[0]["model"] == "m1"
    (outcome,) = hub.wait_for(1)
    expected = {
        "id": response.json()["governance"]["id"],
        "experiment": "test_experiment",
        "arm": "a",
        "unit": unit_of(None, "s1"),
        "tenant": None,
        "shadow": False,
        "decision": "answer",
        "prompt_tokens": 40,
        "completion_tokens": 10,
        "cost_usd": pytest.approx((40 * 2 + 10 * 8) / 1e6),
        "error": None,
    }
    assert {name: outcome[name] for name in expected} == expected
    assert 0 < outcome["first_token_s"] <= outcome["latency_s"]
    assert "water" not in json.dumps(outcome).lower()


def native(decision: str = "caveat") -> Callable[[Exchange], Any]:
    headers = {"x_promethios_decision": decision, "x_promethios_decision_id": "gov-native"}
    field = {"id": "gov-native", "decision": decision, "review_id": None}

    async def reply(exchange: Exchange) -> None:
        if exchange.body.get("stream"):
            await exchange.head(200, "text/event-stream", **headers)
            chunk = {"id": "x", "choices": [], "governance": field}
            await exchange.chunk(event("hi") + b"data: " + json.dumps(chunk).encode() + b"\n\n" + DONE)
            await exchange.chunk(b"")
        else:
            await exchange.json(completion(governance=field), **headers)

    return reply


@pytest.mark.parametrize("stream", [False, True])
def test_a_native_arm_decides_itself_on_what_the_client_said(
    running: Start, upstream: MockUpstream, hub: Hub, telemetry_file: Path, stream: bool
) -> None:
    telemetry_file.write_text("trust: 0.1\n", encoding="utf-8")  # governed here, this would be handed over
    upstream.reply = native()
    with running(f"engine: {{weight: 1, native: true, upstream: '{upstream.url}'}}") as client:
        body = chat(stream=stream, governance={"domain": "legal", "subject": {"agent": "a1", "session": "s1"}})
        response = client.post(ROUTE, json=body)
    assert response.headers["x-promethios-decision-id"] == "gov-native"
    assert response.text.count('"governance"') == 1
    assert upstream.bodies[0]["governance"] == {"domain": "legal", "subject": {"agent": "a1", "session": "s1"}}
    assert upstream.bodies[0]["messages"] == chat()["messages"]
    (outcome,) = hub.wait_for(1)
    assert (outcome["id"], outcome["decision"], outcome["error"]) == ("gov-native", "caveat", None)


def test_a_native_arm_knows_the_request_by_the_client_s_name(
    running: Start, upstream: MockUpstream, other_upstream: MockUpstream
) -> None:
    upstream.reply = native()
    arms = [f"engine: {{weight: 1, native: true, upstream: '{upstream.url}', key_env: ARM_KEY}}"]
    arms.append(f"c: {{shadow: true, upstream: '{other_upstream.url}'}}")
    with running(*arms) as client:
        response = client.post(ROUTE, json=chat(), headers={"x-request-id": "req-7", "x-secret": "s"})
        deadline = time.monotonic() + 10
        while not other_upstream.exchanges:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert response.headers["x-request-id"] == upstream.exchanges[0].headers["x-request-id"] == "req-7"
    assert upstream.exchanges[0].headers["authorization"] == "Bearer sk-arm"
    assert "x-secret" not in upstream.exchanges[0].headers
    assert "x-request-id" not in other_upstream.exchanges[0].headers, "that one is a stranger's"


def test_a_shadow_answers_after_the_answer_and_is_never_shown(
    running: Start, upstream: MockUpstream, other_upstream: MockUpstream, hub: Hub
) -> None:
    order: list[str] = []
    shown = threading.Event()

    async def primary(exchange: Exchange) -> None:
        order.append("primary")
        await exchange.json(completion("shown"))

    async def candidate(exchange: Exchange) -> None:
        order.append("shadow")
        assert await asyncio.to_thread(shown.wait, 10)  # it cannot delay the answer, for it waits for it
        await exchange.json(completion("hidden"))

    upstream.reply, other_upstream.reply = primary, candidate
    with running(
        f"a: {{weight: 1, upstream: '{upstream.url}'}}", f"c: {{shadow: true, upstream: '{other_upstream.url}'}}"
    ) as client:
        before = client.get("/metrics").text
        response = client.post(ROUTE, json=asked("s1"))
        shown.set()
        assert response.json()["choices"][0]["message"]["content"] == "shown"
        main, shadow = main_and_shadow(hub)
        after = client.get("/metrics").text
    assert order == ["primary", "shadow"]
    assert (main["arm"], main["shadow"], shadow["arm"], shadow["shadow"]) == ("a", False, "c", True)
    assert main["unit"] == shadow["unit"] and main["id"] != shadow["id"]
    assert decisions(after) == decisions(before) + 1  # the shadow's is not one of the server's


def main_and_shadow(hub: Hub) -> list[dict[str, Any]]:
    """The two outcomes of one request, which reach the hub in any order."""
    return sorted(hub.wait_for(2), key=lambda outcome: bool(outcome["shadow"]))


def decisions(metrics: str) -> float:
    lines = [line for line in metrics.splitlines() if line.startswith("promethios_decisions_total")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def test_a_shadow_that_fails_hurts_nobody_and_is_told(
    running: Start, upstream: MockUpstream, other_upstream: MockUpstream, hub: Hub
) -> None:
    async def broken(exchange: Exchange) -> None:
        exchange.hang_up()

    other_upstream.reply = broken
    with running(
        f"a: {{weight: 1, upstream: '{upstream.url}'}}", f"c: {{shadow: true, upstream: '{other_upstream.url}'}}"
    ) as client:
        assert client.post(ROUTE, json=asked("s1")).status_code == 200
        assert main_and_shadow(hub)[1]["error"] == "upstream_unreachable"
        assert client.post(ROUTE, json=asked("s1")).status_code == 200


@pytest.mark.parametrize("self_check", [False, True])
def test_a_shadow_that_fails_is_no_failure_of_the_server(
    running: Start,
    upstream: MockUpstream,
    other_upstream: MockUpstream,
    monkeypatch: pytest.MonkeyPatch,
    self_check: bool,
) -> None:
    monkeypatch.setattr("promethios_serving.wrapped.experiment_routing.MAX_SHADOWS", 1)
    verdict = completion(json.dumps({"decision": "answer", "escalation_probability": 0.0}))

    async def good(exchange: Exchange) -> None:
        is_check = "Reply with one JSON object" in exchange.body["messages"][0]["content"]
        await exchange.json(verdict if is_check else completion())

    async def broken(exchange: Exchange) -> None:
        await exchange.json({"error": "x"}, 500)

    upstream.reply, other_upstream.reply = good, broken
    with running(
        f"a: {{weight: 1, upstream: '{upstream.url}'}}",
        f"c: {{shadow: true, upstream: '{other_upstream.url}'}}",
        self_check=self_check,
    ) as client:
        before = failures(client.get("/metrics").text)
        deadline = time.monotonic() + 20
        while len(other_upstream.exchanges) < 2:  # a second shadow starts when the first has ended
            assert client.post(ROUTE, json=asked("s1")).status_code == 200
            assert time.monotonic() < deadline
        assert failures(client.get("/metrics").text) == before


def test_a_defect_in_a_shadow_is_logged_with_its_arm_and_harms_no_answer(
    running: Start,
    upstream: MockUpstream,
    other_upstream: MockUpstream,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def defective(*_: Any) -> None:
        raise KeyError("a defect of ours")

    monkeypatch.setattr(ExperimentRouting, "_shadow", defective)
    with running(
        f"a: {{weight: 1, upstream: '{upstream.url}'}}", f"c: {{shadow: true, upstream: '{other_upstream.url}'}}"
    ) as client:
        assert client.post(ROUTE, json=asked("s1")).status_code == 200
        deadline = time.monotonic() + 10
        while "the shadow arm c failed" not in caplog.messages:
            assert time.monotonic() < deadline
    assert "a defect of ours" in caplog.text


def failures(metrics: str) -> list[str]:
    names = ("promethios_gate_failures_total", "promethios_refused_requests_total")
    return [line for line in metrics.splitlines() if line.startswith(names)]


def test_too_many_shadows_are_dropped_and_counted(
    running: Start, upstream: MockUpstream, other_upstream: MockUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promethios_serving.wrapped.experiment_routing.MAX_SHADOWS", 1)
    release = threading.Event()

    async def slow(exchange: Exchange) -> None:
        await asyncio.to_thread(release.wait, 10)
        await exchange.json(completion())

    other_upstream.reply = slow
    with running(
        f"a: {{weight: 1, upstream: '{upstream.url}'}}",
        f"dropped_c: {{shadow: true, upstream: '{other_upstream.url}'}}",
    ) as client:
        for _ in range(3):
            client.post(ROUTE, json=asked("s1"))
        dropped = 'promethios_shadow_requests_total{arm="dropped_c",result="dropped"} 2.0'
        deadline = time.monotonic() + 10
        while dropped not in client.get("/metrics").text:  # a shadow starts a moment after its answer
            assert time.monotonic() < deadline
        release.set()


@pytest.mark.parametrize("stream", [False, True])
def test_an_arm_that_fails_is_told_with_its_reason(
    running: Start, upstream: MockUpstream, hub: Hub, stream: bool
) -> None:
    async def cut(exchange: Exchange) -> None:
        if stream:
            await exchange.events(event("Water "))
        else:
            await exchange.json({"error": "x"}, 500)

    upstream.reply = cut
    with running(f"a: {{weight: 1, upstream: '{upstream.url}'}}") as client:
        client.post(ROUTE, json=asked("s1", stream=stream))
    assert hub.wait_for(1)[0]["error"] == ("upstream_cut_off" if stream else "upstream_error")


def test_the_status_names_the_arms_and_no_key(running: Start, upstream: MockUpstream) -> None:
    with running(f"a: {{weight: 2, upstream: '{upstream.url}', key_env: ARM_KEY}}") as client:
        response = client.get("/v1/governance")
    assert response.json()["experiment"] == "test_experiment"
    assert response.json()["arms"][0]["weight"] == 2
    assert "sk-arm" not in response.text
