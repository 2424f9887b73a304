from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.hub.documents import review_record

EXPERIMENT = {"name": "native-against-gpt", "control": "gpt", "arms": ["gpt", "native"]}


def outcome(number: int, arm: str, **more: Any) -> dict[str, Any]:
    return {
        "id": f"gov-{number:012d}",
        "experiment": EXPERIMENT["name"],
        "arm": arm,
        "unit": hashlib.sha256(f"{arm} {number // 2}".encode()).hexdigest(),
        "shadow": False,
        "time": datetime.now(UTC).isoformat(),
        "decision": "answer",
        "resolved": None,
        "latency_s": 1.0,
        "first_token_s": 0.2,
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "cost_usd": 0.001,
        "error": None,
        **more,
    }


def report(hub: TestClient) -> dict[str, dict[str, Any]]:
    """Return arm -> metric -> comparison."""
    arms = hub.get(f"/v1/experiments/{EXPERIMENT['name']}").json()["report"]
    return {arm["arm"]: {found["metric"]: found for found in arm["comparisons"]} for arm in arms}


def send(hub: TestClient, *outcomes: dict[str, Any]) -> None:
    for start in range(0, len(outcomes), 500):
        reply = hub.post("/v1/outcomes", json={"outcomes": outcomes[start : start + 500]})
        assert reply.status_code == 200, reply.text


def test_arms_are_compared_by_session_and_the_faster_one_is_found(hub: TestClient) -> None:
    assert hub.post("/v1/experiments", json=EXPERIMENT).status_code == 201
    draw = random.Random(1)
    faster = [outcome(number, "native", latency_s=0.5 + draw.random()) for number in range(400)]
    slower = [outcome(number, "gpt", latency_s=1.0 + draw.random()) for number in range(400, 800)]
    send(hub, *faster, *slower)
    latency = report(hub)["native"]["latency_s"]
    assert latency["units"] == 200, "two requests a session"
    assert latency["difference"]["low"] < -0.5 < latency["difference"]["high"] < 0
    assert latency["verdict"] == "lower than the control: better"
    assert report(hub)["gpt"]["latency_s"]["difference"] is None


def test_repeated_outcomes_count_once_and_may_be_resolved_later(hub: TestClient) -> None:
    hub.post("/v1/experiments", json=EXPERIMENT)
    for _ in range(2):
        send(hub, outcome(0, "native"), outcome(1, "native"))
    assert "resolved" not in report(hub)["native"]
    send(hub, outcome(0, "native", resolved=True, latency_s=9.0))
    send(hub, outcome(0, "native", resolved=False))
    found = report(hub)["native"]
    assert found["resolved"]["value"]["estimate"] == 1.0
    assert found["latency_s"]["value"]["estimate"] == 1.0


def test_few_sessions_say_nothing(hub: TestClient) -> None:
    hub.post("/v1/experiments", json=EXPERIMENT)
    send(hub, *(outcome(number, arm) for number, arm in enumerate(["gpt", "native"] * 20)))
    latency = report(hub)["native"]["latency_s"]
    assert latency["difference"]["low"] is None
    assert latency["verdict"] == "too few sessions, or too much alike, to say anything yet"


def test_what_comes_after_the_stop_does_not_count(hub: TestClient) -> None:
    hub.post("/v1/experiments", json=EXPERIMENT)
    send(hub, outcome(0, "native"))
    stopped = hub.post(f"/v1/experiments/{EXPERIMENT['name']}/stop").json()["stopped_at"]
    later = (datetime.fromisoformat(stopped) + timedelta(seconds=1)).isoformat()
    send(hub, outcome(10, "native", time=later, latency_s=99.0))
    assert report(hub)["native"]["latency_s"]["value"]["estimate"] == 1.0
    assert hub.post(f"/v1/experiments/{EXPERIMENT['name']}/stop").json()["stopped_at"] == stopped


def test_missed_escalations_come_from_audits_weighted_by_their_probability(hub: TestClient) -> None:
    hub.post("/v1/experiments", json=EXPERIMENT)
    # 3 audits at probability 0.5, one of them missed; 1 at 0.1, missed: (2 + 10) / (3 * 2 + 10)
    for place, (propensity, missed) in enumerate([(0.5, True), (0.5, False), (0.5, False), (0.1, True)]):
        number = 4 * place + 3
        arm = {"name": EXPERIMENT["name"], "arm": "native"}
        hub.post("/v1/reviews", json={"reviews": [review_record(number, propensity=propensity, experiment=arm)]})
        body = {"action": "override", "decision": "escalate"} if missed else {"action": "approve"}
        assert hub.post(f"/v1/reviews/gov-{number:012d}/decide", json={"version": 1, **body}).status_code == 200
    assert report(hub)["native"]["missed"]["value"]["estimate"] == pytest.approx(12 / 16)


def test_an_experiment_needs_its_control_among_its_arms_and_a_name_of_its_own(hub: TestClient) -> None:
    wrong = hub.post("/v1/experiments", json={**EXPERIMENT, "control": "claude"})
    assert wrong.status_code == 400 and "claude" in wrong.json()["error"]["message"]
    assert hub.post("/v1/experiments", json=EXPERIMENT).status_code == 201
    assert hub.post("/v1/experiments", json=EXPERIMENT).status_code == 409
    assert [found["name"] for found in hub.get("/v1/experiments").json()["data"]] == [EXPERIMENT["name"]]
    assert hub.get("/v1/experiments/unknown").status_code == 404
