from __future__ import annotations

from functools import partial

from starlette.testclient import TestClient

from promethios_hub.review_statistics import review_statistics
from tests.hub.documents import review_record


def test_statistics_count_the_work(hub: TestClient) -> None:
    assert hub.post("/v1/reviews", json={"reviews": [review_record(number) for number in range(8)]}).status_code == 200
    for number, decision in enumerate(({"action": "approve"}, {"action": "override", "decision": "answer"})):
        body = {"version": 1, **decision}
        assert hub.post(f"/v1/reviews/gov-{number:012d}/decide", json=body).status_code == 200
    statistics = hub.portal.call(review_statistics, hub.app.state.hub.database)  # type: ignore[attr-defined, union-attr]
    assert (statistics.days[-1].arrived, statistics.days[-1].done, statistics.waiting) == (8, 2, 6)
    assert statistics.agreement == {"escalate": (1, 2)}
    assert statistics.open_by_domain == {"": 2, "finance": 2, "healthcare": 1, "legal": 1}
    assert statistics.median_minutes is not None


def test_a_tenant_s_work_is_counted_alone(hub: TestClient) -> None:
    records = [review_record(number, tenant="acme" if number < 3 else "other") for number in range(8)]
    assert hub.post("/v1/reviews", json={"reviews": records}).status_code == 200
    for number in (0, 4):
        body = {"version": 1, "action": "approve"}
        assert hub.post(f"/v1/reviews/gov-{number:012d}/decide", json=body).status_code == 200
    counted = partial(review_statistics, hub.app.state.hub.database, tenant="acme")  # type: ignore[attr-defined]
    statistics = hub.portal.call(counted)  # type: ignore[union-attr]
    assert (statistics.days[-1].arrived, statistics.days[-1].done, statistics.waiting) == (3, 1, 2)
    assert statistics.agreement == {"escalate": (1, 1)}
    assert statistics.open_by_domain == {"finance": 1, "legal": 1}
    assert sum(count for _, count in statistics.open_by_age) == 2
    assert statistics.oldest_waiting_s is not None
