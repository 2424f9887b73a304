from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from promethios_hub.retention import forget
from tests.hub.conftest import MakeHub, key
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
        "tenant": None,
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


def test_repeated_outcomes_count_once(hub: TestClient) -> None:
    hub.post("/v1/experiments", json=EXPERIMENT)
    send(hub, outcome(0, "native"), outcome(1, "native"))
    send(hub, outcome(0, "native", latency_s=9.0))
    assert report(hub)["native"]["latency_s"]["value"]["estimate"] == 1.0


def resolve(hub: TestClient, number: int, resolved: Any, **options: Any) -> Any:
    return hub.put(f"/v1/outcomes/gov-{number:012d}/resolved", json={"resolved": resolved}, **options)


def test_callers_say_what_resolved_and_the_arm_that_resolves_more_is_found(hub: TestClient) -> None:
    hub.post("/v1/experiments", json=EXPERIMENT)
    rates = {"native": 0.8, "gpt": 0.4}
    arms = [arm for arm in rates for _ in range(120)]
    sessions = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(240)]
    send(hub, *(outcome(number, arm, unit=sessions[number]) for number, arm in enumerate(arms)))
    assert "resolved" not in report(hub)["native"], "nobody has said anything yet"
    draw = random.Random(5)
    said = [draw.random() < rates[arm] for arm in arms]
    for number, resolved in enumerate(said):
        assert resolve(hub, number, resolved).json() == {"id": f"gov-{number:012d}", "resolved": resolved}
    found = report(hub)["native"]["resolved"]
    assert found["value"]["estimate"] == pytest.approx(sum(said[:120]) / 120)
    assert found["difference"]["low"] > 0
    assert found["verdict"] == "higher than the control: better"


def test_the_last_word_on_an_answer_counts_and_an_outcome_sent_again_does_not_undo_it(hub: TestClient) -> None:
    hub.post("/v1/experiments", json=EXPERIMENT)
    send(hub, outcome(0, "native"), outcome(1, "native"))
    for resolved in (False, True, True):
        assert resolve(hub, 0, resolved).status_code == 200
    send(hub, outcome(0, "native"))
    assert report(hub)["native"]["resolved"]["value"]["estimate"] == 1.0


def test_only_the_tenant_of_an_answer_says_what_came_of_it(make_hub: MakeHub, access_file: Path) -> None:
    hub = make_hub(access_file=access_file)
    hub.post("/v1/experiments", json=EXPERIMENT, headers=key("admin"))
    for number, tenant, status in ((0, "acme", 200), (1, "other", 403), (2, None, 403)):
        body = {"outcomes": [outcome(number, "native", tenant=tenant)]}
        assert hub.post("/v1/outcomes", json=body, headers=key("acme-engine")).status_code == status
    assert resolve(hub, 0, True).status_code == 401
    assert resolve(hub, 0, True, headers=key("reviewer")).status_code == 403
    foreign, unknown = (resolve(hub, number, True, headers=key("other-app")) for number in (0, 7))
    assert (foreign.status_code, unknown.status_code) == (404, 404)
    hidden = foreign.json()["error"]["message"].replace(f"{0:012d}", f"{7:012d}")
    assert hidden == unknown.json()["error"]["message"], "what is another's looks like what is not there"
    assert resolve(hub, 0, True, headers=key("acme-app")).status_code == 200


def test_nobody_saw_what_a_shadow_answered(hub: TestClient) -> None:
    send(hub, outcome(0, "native", shadow=True))
    assert resolve(hub, 0, True).status_code == 404


@pytest.mark.parametrize("resolved", [None, "yes", 1])
def test_resolved_is_true_or_false(hub: TestClient, resolved: Any) -> None:
    send(hub, outcome(0, "native"))
    reply = resolve(hub, 0, resolved)
    assert reply.status_code == 400 and reply.json()["error"]["param"] == "resolved"


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


def audit(hub: TestClient, number: int, *, missed: bool, **more: Any) -> None:
    """Send an audited answer as a native engine does, which knows of no experiment, and settle it."""
    reply = hub.post("/v1/reviews", json={"reviews": [review_record(4 * number + 3, **more)]})
    assert reply.status_code == 200, reply.text
    body = {"action": "override", "decision": "escalate"} if missed else {"action": "approve"}
    path = f"/v1/reviews/{review_record(4 * number + 3)['id']}/decide"
    assert hub.post(path, json={"version": 1, **body}).status_code == 200


def test_missed_escalations_come_from_audits_weighted_by_their_probability(hub: TestClient) -> None:
    hub.post("/v1/experiments", json=EXPERIMENT)
    # 3 audits at probability 0.5, one of them missed; 1 at 0.1, missed: (2 + 10) / (3 * 2 + 10)
    for number, (propensity, missed) in enumerate([(0.5, True), (0.5, False), (0.5, False), (0.1, True)]):
        send(hub, outcome(4 * number + 3, "native"))
        audit(hub, number, missed=missed, propensity=propensity)
    audit(hub, 4, missed=True)  # of no experiment
    assert report(hub)["native"]["missed"]["value"]["estimate"] == pytest.approx(12 / 16)


def test_the_arms_of_a_native_engine_and_of_a_wrapped_model_both_show_what_they_missed(hub: TestClient) -> None:
    hub.post("/v1/experiments", json=EXPERIMENT)
    for number, (arm, missed) in enumerate([("native", False), ("native", True), ("gpt", True), ("gpt", True)]):
        send(hub, outcome(4 * number + 3, arm))
        wrapped = {"experiment": {"name": EXPERIMENT["name"], "arm": arm}} if arm == "gpt" else {}
        audit(hub, number, missed=missed, **wrapped)
    found = {arm: comparisons["missed"]["value"]["estimate"] for arm, comparisons in report(hub).items()}
    assert found == {"native": pytest.approx(0.5), "gpt": pytest.approx(1.0)}


def test_audited_answers_of_one_session_are_one_unit_even_when_its_words_are_forgotten(hub: TestClient) -> None:
    hub.post("/v1/experiments", json=EXPERIMENT)
    for number, session in enumerate(("one", "one", "two", "three", "four")):
        unit = hashlib.sha256(session.encode()).hexdigest()
        send(hub, outcome(4 * number + 3, "native", unit=unit))
        audit(hub, number, missed=number < 2)
    later = datetime.now(UTC) + timedelta(days=2)
    database = hub.app.state.hub.database  # type: ignore[attr-defined]
    assert hub.portal.call(forget, database, 1, later) == 5  # type: ignore[union-attr]
    missed = report(hub)["native"]["missed"]
    assert (missed["units"], missed["value"]["estimate"]) == (4, pytest.approx(2 / 5))


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_an_outcome_of_an_impossible_time_is_refused_by_name(hub: TestClient, time: str) -> None:
    reply = hub.post("/v1/outcomes", json={"outcomes": [outcome(0, "native", time=time)]})
    assert reply.status_code == 400 and reply.json()["error"]["param"] == "outcomes.0.time"


def test_an_experiment_needs_its_control_among_its_arms_and_a_name_of_its_own(hub: TestClient) -> None:
    wrong = hub.post("/v1/experiments", json={**EXPERIMENT, "control": "claude"})
    assert wrong.status_code == 400 and "claude" in wrong.json()["error"]["message"]
    assert hub.post("/v1/experiments", json=EXPERIMENT).status_code == 201
    assert hub.post("/v1/experiments", json=EXPERIMENT).status_code == 409
    assert [found["name"] for found in hub.get("/v1/experiments").json()["data"]] == [EXPERIMENT["name"]]
    assert hub.get("/v1/experiments/unknown").status_code == 404
