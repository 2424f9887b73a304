from __future__ import annotations

import json
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import event
from starlette.testclient import TestClient

from promethios.feedback import main as feedback
from tests.hub.conftest import MakeHub, key
from tests.hub.documents import review_record


def send(hub: TestClient, *records: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
    reply = hub.post("/v1/reviews", json={"reviews": records}, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()


def decide(hub: TestClient, number: int, version: int = 1, **body: Any) -> Any:
    return hub.post(f"/v1/reviews/gov-{number:012d}/decide", json={"version": version, **body})


def test_the_same_batch_again_changes_nothing(hub: TestClient) -> None:
    records = [review_record(number) for number in range(5)]
    assert send(hub, *records) == {"accepted": 5, "merged": 0}
    before = hub.get("/v1/reviews").json()
    assert send(hub, *records, review_record(5)) == {"accepted": 1, "merged": 5}
    assert hub.get("/v1/reviews").json()["data"][:5] == before["data"]


def test_a_response_fills_once_and_nothing_else_of_a_known_review_changes(hub: TestClient) -> None:
    send(hub, review_record(0, response=None))
    send(hub, review_record(0, response="First.", probability=0.9))
    send(hub, review_record(0, response="Second."))
    review = hub.get("/v1/reviews/gov-000000000000").json()
    assert (review["response"], review["probability"], review["version"]) == ("First.", 0.8, 1)


def test_a_tenants_engine_cannot_put_words_into_anothers_review(make_hub: MakeHub, access_file: Path) -> None:
    hub = make_hub(access_file=access_file)
    send(hub, review_record(0, tenant="other", response=None), headers=key("engine"))
    send(hub, review_record(0, tenant="acme", response="Injected."), headers=key("acme-engine"))
    review = hub.get("/v1/reviews/gov-000000000000", headers=key("reviewer")).json()
    assert (review["tenant"], review["response"]) == ("other", None)


def test_a_tenants_admin_exports_its_own_reviews_and_runs_no_experiment_of_all(
    make_hub: MakeHub, access_file: Path
) -> None:
    hub = make_hub(access_file=access_file)
    for number, tenant in enumerate(("acme", "other", None)):
        send(hub, review_record(number, tenant=tenant), headers=key("engine"))
        body = {"version": 1, "action": "approve"}
        reply = hub.post(f"/v1/reviews/gov-{number:012d}/decide", json=body, headers=key("reviewer"))
        assert reply.status_code == 200, reply.text
    own, all_of_them = (
        [json.loads(line)["id"] for line in hub.get("/v1/feedback/records", headers=key(name)).text.splitlines()]
        for name in ("acme-admin", "admin")
    )
    assert own == ["gov-000000000000"] and len(all_of_them) == 3
    assert hub.get("/v1/experiments", headers=key("acme-admin")).status_code == 403
    assert hub.get("/v1/experiments", headers=key("admin")).status_code == 200


def test_a_batch_may_hold_both_records_of_an_answer(hub: TestClient) -> None:
    assert send(hub, review_record(0, response=None), review_record(0)) == {"accepted": 1, "merged": 1}
    assert hub.get("/v1/reviews/gov-000000000000").json()["response"] is not None


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"decision": "maybe"}, "reviews.1.decision"),
        ({"probability": 1.5}, "reviews.1.probability"),
        ({"time": "yesterday"}, "reviews.1.time"),
        ({"time": "0001-01-01T00:00:00+14:00"}, "reviews.1.time"),
        ({"time": "9999-12-31T23:59:59-14:00"}, "reviews.1.time"),
        ({"messages": []}, "reviews.1.messages"),
        ({"governance": {"state": {"mood": 7}, "domain": None}}, "reviews.1.governance.state"),
        ({"propensity": 0}, "reviews.1.propensity"),
    ],
)
def test_a_wrong_record_refuses_the_batch_and_its_place_is_named(
    hub: TestClient, change: dict[str, Any], place: str
) -> None:
    reply = hub.post("/v1/reviews", json={"reviews": [review_record(0), {**review_record(1), **change}]})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"].startswith(place)
    assert hub.get("/v1/reviews").json()["data"] == []


def test_a_review_of_a_newer_engine_is_taken_without_what_the_hub_does_not_know(hub: TestClient) -> None:
    assert send(hub, review_record(1, from_the_future={"any": "thing"})) == {"accepted": 1, "merged": 0}
    assert "from_the_future" not in hub.get("/v1/reviews/gov-000000000001").json()


def test_reviews_come_in_the_order_of_their_arrival_page_by_page(hub: TestClient) -> None:
    send(hub, *(review_record(number) for number in range(7)))
    seen, after = [], 0
    while after is not None:
        page = hub.get("/v1/reviews", params={"after": after, "limit": 3}).json()
        seen += [review["id"] for review in page["data"]]
        after = page["next"]
    assert seen == [f"gov-{number:012d}" for number in range(7)]
    assert [r["domain"] for r in hub.get("/v1/reviews?domain=legal").json()["data"]] == ["legal", "legal"]


@pytest.mark.parametrize(
    ("query", "found"),
    [("warfarin", [0]), ("WARFARIN Dose", [0]), ("warfarin landlord", []), ("müssen", [1]), ("x' OR 1=1 --", [])],
)
def test_reviews_are_found_by_words_of_the_question(hub: TestClient, query: str, found: list[int]) -> None:
    for number, text in enumerate(["Which dose of warfarin?", "Was müssen Mieter zahlen?", "A landlord's duty"]):
        send(hub, review_record(number, messages=[{"role": "user", "content": text}]))
    data = hub.get("/v1/reviews", params={"q": query}).json()["data"]
    assert [review["id"] for review in data] == [f"gov-{number:012d}" for number in found]


def test_of_two_reviewers_one_wins_and_the_other_is_told(hub: TestClient) -> None:
    send(hub, review_record(0))
    assert hub.post("/v1/reviews/gov-000000000000/assign", json={"version": 1}).json()["state"] == "assigned"
    late = decide(hub, 0, 1, action="approve")
    assert late.status_code == 409 and late.json()["error"]["code"] == "conflict"
    assert hub.post("/v1/reviews/gov-000000000000/release", json={"version": 2}).json()["state"] == "waiting"
    settled = decide(hub, 0, 3, action="approve").json()
    assert (settled["state"], settled["final_decision"], settled["version"]) == ("done", "escalate", 4)
    assert decide(hub, 0, 4, action="approve").status_code == 409


@pytest.mark.parametrize(
    "body",
    [
        {"action": "approve", "response": "Another."},
        {"action": "edit"},
        {"action": "edit", "response": "A person will take it from here."},
        {"action": "override"},
        {"action": "override", "decision": "escalate"},
        {"action": "reject", "response": "Something."},
    ],
    ids=str,
)
def test_an_action_that_contradicts_itself_is_refused_and_the_review_stays_open(
    hub: TestClient, body: dict[str, Any]
) -> None:
    send(hub, review_record(0))
    assert decide(hub, 0, **body).status_code == 400
    assert hub.get("/v1/reviews/gov-000000000000").json()["state"] == "waiting"


def test_a_user_who_waits_is_answered_when_the_reviewer_decides(hub: TestClient) -> None:
    send(hub, review_record(0))
    now = hub.get("/v1/reviews/gov-000000000000/reply").json()
    assert now == {"id": "gov-000000000000", "state": "waiting", "decision": None, "response": None}
    replies: list[Any] = []
    waiting = threading.Thread(
        target=lambda: replies.append(hub.get("/v1/reviews/gov-000000000000/reply?wait_s=30").json())
    )
    waiting.start()
    time.sleep(0.1)  # most likely it waits by now; the outcome is the same if it does not
    decide(hub, 0, action="override", decision="caveat", response="Ask your doctor.")
    waiting.join(timeout=20)
    assert replies == [
        {"id": "gov-000000000000", "state": "done", "decision": "caveat", "response": "Ask your doctor."}
    ]


def test_a_client_does_not_learn_that_its_answer_was_drawn_for_audit(make_hub: MakeHub, access_file: Path) -> None:
    hub = make_hub(access_file=access_file)
    asked_for = review_record(4, tenant="acme", reviewed_because="user_asked")
    send(hub, review_record(0, tenant="acme"), review_record(3, tenant="acme"), asked_for, headers=key("engine"))

    def reply(number: int) -> Any:
        return hub.get(f"/v1/reviews/gov-{number:012d}/reply", headers=key("acme-app"))

    audited, unknown = reply(3), reply(7)
    assert (audited.status_code, unknown.status_code) == (404, 404)
    assert audited.text.replace(f"{3:012d}", f"{7:012d}") == unknown.text
    assert (reply(0).status_code, reply(4).status_code) == (200, 200)


def test_a_user_who_waits_costs_the_database_no_conversation(hub: TestClient) -> None:
    send(hub, review_record(0))
    asked: list[str] = []
    database = hub.app.state.hub.database.sync_engine  # type: ignore[attr-defined]
    event.listen(database, "before_cursor_execute", lambda _c, _u, statement, *_: asked.append(statement))
    assert hub.get("/v1/reviews/gov-000000000000/reply").status_code == 200
    (statement,) = (text for text in asked if "reviews.id = " in text)
    assert "final_response" in statement and "messages" not in statement


def test_keys_do_what_their_scope_and_tenant_allow_and_no_more(make_hub: MakeHub, access_file: Path) -> None:
    hub = make_hub(access_file=access_file)
    send(hub, review_record(0, tenant="acme"), review_record(1, tenant="other"), headers=key("engine"))
    path = "/v1/reviews/gov-000000000000"

    def status(name: str, path: str = path) -> int:
        return hub.get(path, headers=key(name) if name else {}).status_code

    assert status("") == status("nobody") == 401
    assert status("engine") == status("acme-app") == 403
    assert status("reviewer") == status("admin") == status("acme-reviewer") == 200
    assert status("acme-app", f"{path}/reply") == 200
    assert status("other-app", f"{path}/reply") == 404
    assert status("acme-reviewer", "/v1/reviews/gov-000000000001") == 404
    listed = hub.get("/v1/reviews", headers=key("acme-reviewer")).json()["data"]
    assert [review["tenant"] for review in listed] == ["acme"]
    assert hub.post("/v1/reviews", json={"reviews": [review_record(2)]}, headers=key("reviewer")).status_code == 403
    assert status("reviewer", "/v1/feedback/records") == 403


def test_a_hub_without_keys_answers_this_machine_only(hub: TestClient) -> None:
    reply = hub.get("/v1/reviews", headers={"host": "attacker.example"})
    assert reply.status_code == 403
    assert "access file" in reply.json()["error"]["message"]


def test_a_text_that_has_not_arrived_cannot_be_approved(hub: TestClient) -> None:
    send(hub, review_record(0, response=None))
    reply = decide(hub, 0, action="approve")
    assert reply.status_code == 409 and "no text to approve" in reply.json()["error"]["message"]
    send(hub, review_record(0))
    assert decide(hub, 0, action="approve").json()["final_response"] == review_record(0)["response"]


def test_a_review_that_is_known_is_not_counted_as_another(hub: TestClient) -> None:
    def counted() -> float:
        labels = {"domain": "healthcare", "reason": "escalated"}
        return REGISTRY.get_sample_value("promethios_hub_reviews_total", labels) or 0.0

    before = counted()
    send(hub, review_record(0, response=None), review_record(0))
    send(hub, review_record(0), review_record(4))
    assert counted() - before == 2


def test_settled_reviews_are_like_those_of_the_same_words_and_domain_first(hub: TestClient) -> None:
    texts = ["Can I take warfarin with ibuprofen?", "Is warfarin a poison?", "May my landlord enter?", "warfarin dose"]
    for number, text in enumerate(texts):
        domain = {"state": None, "domain": "legal" if number == 3 else "healthcare"}
        send(hub, review_record(number, messages=[{"role": "user", "content": text}], governance=domain))
    for number in (1, 2, 3):
        decide(hub, number, action="reject")
    store = hub.app.state.hub.reviews  # type: ignore[attr-defined]
    similar = hub.portal.call(store.similar, "gov-000000000000")  # type: ignore[union-attr]
    assert [review.id for review in similar] == ["gov-000000000001", "gov-000000000003"]


def test_similar_reviews_of_one_tenant_are_found_among_those_of_all(hub: TestClient) -> None:
    question = [{"role": "user", "content": "Can I take warfarin with ibuprofen?"}]
    tenants = ["acme", "acme", *["other"] * 9]
    send(hub, *(review_record(n, messages=question, tenant=tenant) for n, tenant in enumerate(tenants)))
    for number in range(1, len(tenants)):
        decide(hub, number, action="reject")
    store = hub.app.state.hub.reviews  # type: ignore[attr-defined]
    similar = hub.portal.call(partial(store.similar, "gov-000000000000", tenant="acme"))  # type: ignore[union-attr]
    assert [review.id for review in similar] == ["gov-000000000001"]


def test_what_was_settled_becomes_training_data(hub: TestClient, tmp_path: Path) -> None:
    send(hub, *(review_record(number) for number in range(4)), review_record(4, response=None), review_record(5))
    decide(hub, 0, action="approve")
    decide(hub, 1, action="edit", response="Better.")
    decide(hub, 2, action="override", decision="caveat", response="You may, but take care.")
    decide(hub, 3, action="reject")
    decide(hub, 4, action="override", decision="caveat", response="The engine died, and this is no training data.")
    lines = hub.get("/v1/feedback/records").text
    records = [json.loads(line) for line in lines.splitlines()]
    assert [record["id"] for record in records] == [f"gov-{number:012d}" for number in range(4)]
    assert records[3]["propensity"] == 0.02
    path = tmp_path / "records.jsonl"
    path.write_text(lines, encoding="utf-8")
    assert feedback(["export", "--records", str(path), "--output_dir", str(tmp_path / "feedback")]) == 0


def test_an_error_has_openais_shape(hub: TestClient) -> None:
    for reply in (hub.get("/v1/nothing"), hub.put("/v1/reviews"), hub.get("/v1/reviews/gov-unknown")):
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
