from __future__ import annotations

from datetime import UTC, datetime, timedelta

from promethios_hub.retention import forget
from tests.hub.conftest import MakeHub
from tests.hub.documents import review_record


def test_after_the_retention_time_a_settled_review_keeps_its_facts_and_loses_its_words(make_hub: MakeHub) -> None:
    hub = make_hub()
    hub.post("/v1/reviews", json={"reviews": [review_record(number) for number in range(2)]})
    body = {"version": 1, "action": "override", "decision": "caveat", "response": "Warfarin and words."}
    hub.post("/v1/reviews/gov-000000000000/decide", json=body)
    database = hub.app.state.hub.database  # type: ignore[attr-defined]
    now = datetime.now(UTC)
    assert hub.portal.call(forget, database, 30, now + timedelta(days=29)) == 0  # type: ignore[union-attr]
    assert hub.portal.call(forget, database, 30, now + timedelta(days=31)) == 1  # type: ignore[union-attr]
    review = hub.get("/v1/reviews/gov-000000000000").json()
    assert (review["messages"], review["response"], review["final_response"], review["question"]) == (
        [],
        None,
        None,
        "",
    )
    assert (review["final_decision"], review["probability"], review["forgotten"]) == ("caveat", 0.8, True)
    assert hub.get("/v1/reviews/gov-000000000001").json()["messages"], "an open review is kept"
    assert hub.get("/v1/reviews", params={"q": "question", "state": "done"}).json()["data"] == []
    assert hub.get("/v1/feedback/records").text == ""
    # the record comes once more, as after a lost reply: its words stay forgotten
    hub.post("/v1/reviews", json={"reviews": [review_record(0)]})
    assert hub.get("/v1/reviews/gov-000000000000").json()["response"] is None
