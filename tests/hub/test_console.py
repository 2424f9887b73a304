"""The console's pages without a browser: who gets in, what a form needs, what a page may hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from promethios_hub.console.session import COOKIE, LIFETIME_S, Sessions
from tests.hub.conftest import MakeHub, key
from tests.hub.documents import review_record

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\"'{{7*7}}"


def signed_in(hub: TestClient, name: str = "reviewer") -> TestClient:
    reply = hub.post("/console/sign-in", data={"key": f"key-{name}"}, follow_redirects=False)
    assert reply.status_code == 303, reply.text
    return hub


def token_in(page: str) -> str:
    found = re.search(r'name="token" value="([0-9a-f]+)"', page)
    assert found
    return found.group(1)


@pytest.fixture
def console(make_hub: MakeHub, access_file: Path) -> TestClient:
    """A hub with three reviews, one of them of tenant acme."""
    hub = make_hub(access_file=access_file, session_secret="secret")
    hostile = [{"role": "user", "content": HOSTILE}]
    records = [
        review_record(0),
        review_record(1, messages=hostile, response=HOSTILE, request_id=HOSTILE, engine=HOSTILE),
        review_record(2, tenant="acme"),
    ]
    reply = hub.post("/v1/reviews", json={"reviews": records}, headers=key("engine"))
    assert reply.status_code == 200, reply.text
    return hub


@pytest.mark.parametrize("page", ["reviews", "reviews/gov-000000000000", "metrics", "experiments", "count"])
def test_nobody_sees_a_page_without_signing_in(console: TestClient, page: str) -> None:
    reply = console.get(f"/console/{page}", follow_redirects=False)
    assert (reply.status_code, reply.headers["location"]) == (303, "/console/sign-in")


@pytest.mark.parametrize(("name", "status"), [("nobody", 401), ("acme-app", 403), ("engine", 403)])
def test_only_reviewers_get_in(console: TestClient, name: str, status: int) -> None:
    reply = console.post("/console/sign-in", data={"key": f"key-{name}"}, follow_redirects=False)
    assert reply.status_code == status
    assert COOKIE not in reply.cookies


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(console: TestClient) -> None:
    reply = console.post("/console/sign-in", data={"key": "key-reviewer"}, follow_redirects=False)
    cookie = reply.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "path=/console" in cookie
    assert "key-reviewer" not in cookie


def test_a_session_ends_when_its_key_leaves_the_access_file(console: TestClient, access_file: Path) -> None:
    signed_in(console)
    assert console.get("/console/reviews").status_code == 200
    lines = [line for line in access_file.read_text().splitlines() if "id: reviewer" not in line]
    access_file.with_suffix(".new").write_text("\n".join(lines))
    access_file.with_suffix(".new").replace(access_file)
    assert console.get("/console/reviews", follow_redirects=False).status_code == 303


@pytest.mark.parametrize(
    "change", [lambda c: c[:-1] + "x", lambda c: "a" + c, lambda c: "", lambda c: "...", lambda c: "é"]
)
def test_a_changed_cookie_is_none(change: Any) -> None:
    sessions = Sessions("secret")
    cookie = sessions.cookie("ab" * 32, now=1000)
    assert sessions.digest(cookie, now=1000) == "ab" * 32
    assert sessions.digest(change(cookie), now=1000) is None


def test_a_cookie_ends_after_its_time_and_with_another_secret() -> None:
    cookie = Sessions("secret").cookie("ab" * 32, now=1000)
    assert Sessions("secret").digest(cookie, now=1001 + LIFETIME_S) is None
    assert Sessions("another").digest(cookie, now=1000) is None


@pytest.mark.parametrize("token", ["", "0" * 64, "é"])
def test_a_form_of_another_site_changes_nothing(console: TestClient, token: str) -> None:
    signed_in(console)
    data = {"version": "1", "token": token}
    reply = console.post("/console/reviews/gov-000000000000/approve", data=data)
    assert reply.status_code == 403
    assert "out of date" in reply.text
    review = console.get("/v1/reviews/gov-000000000000", headers=key("reviewer")).json()
    assert review["state"] == "waiting"


def test_what_users_wrote_stays_text(console: TestClient) -> None:
    signed_in(console)
    for path in ("reviews", "reviews/gov-000000000001", f"reviews?q={HOSTILE}"):
        reply = console.get(f"/console/{path}")
        assert reply.status_code == 200
        assert (
            "<script>document" not in reply.text
            and "<img" not in reply.text
            and "49" not in re.findall(r"\b49\b", reply.text)
        )
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy


def test_a_tenant_s_reviewer_sees_that_tenant_only(console: TestClient) -> None:
    signed_in(console, "acme-reviewer")
    queue = console.get("/console/reviews")
    assert re.findall(r'href="/console/reviews/(gov-\d+)"', queue.text) == ["gov-000000000002"]
    assert '<strong data-open-count aria-live="polite">1</strong>' in queue.text
    assert console.get("/console/reviews/gov-000000000000").status_code == 404
    assert 'href="/console/metrics"' in queue.text and 'href="/console/experiments"' not in queue.text
    assert "<dt>Waiting</dt><dd>1</dd>" in console.get("/console/metrics").text
    assert console.get("/console/experiments").status_code == 403
    data = {"version": "1", "token": token_in(queue.text)}
    assert console.post("/console/reviews/gov-000000000000/approve", data=data).status_code == 404


def test_a_stale_form_shows_what_happened_and_keeps_what_was_typed(console: TestClient) -> None:
    signed_in(console)
    page = console.get("/console/reviews/gov-000000000000").text
    data = {"version": "1", "token": token_in(page)}
    assert console.post("/console/reviews/gov-000000000000/assign", data=data).status_code == 200
    data |= {"response": "my careful words"}
    reply = console.post("/console/reviews/gov-000000000000/edit", data=data)
    assert reply.status_code == 409
    assert "Somebody else worked on this review" in reply.text and "my careful words" in reply.text


def test_a_decision_leads_to_the_review_that_waits_longest_then_to_the_empty_queue(console: TestClient) -> None:
    signed_in(console)
    for number, following in ((0, "/gov-000000000001"), (1, "/gov-000000000002"), (2, "/reviews")):
        path = f"/console/reviews/gov-{number:012d}"
        data = {"version": "1", "token": token_in(console.get(path).text)}
        reply = console.post(f"{path}/approve", data=data, follow_redirects=False)
        assert reply.headers["location"].endswith(following)
    assert "Nothing is waiting" in console.get("/console/reviews").text


def test_an_unknown_page_of_a_review_is_a_page_and_the_api_s_is_json(console: TestClient) -> None:
    signed_in(console)
    page = console.get("/console/reviews/gov-none")
    assert page.status_code == 404 and page.headers["content-type"].startswith("text/html")
    assert console.get("/v1/reviews/gov-none", headers=key("reviewer")).json()["error"]["code"] == "not_found"


def test_a_handover_because_the_check_failed_shows_no_made_up_probability(console: TestClient) -> None:
    signed_in(console)
    record = review_record(9, probability=1.0, probabilities={}, uncertainty={})
    assert console.post("/v1/reviews", json={"reviews": [record]}, headers=key("engine")).status_code == 200
    page = console.get("/console/reviews/gov-000000000009").text
    assert "Its check failed" in page and "Chance that a person" not in page
    assert "Chance that a person" in console.get("/console/reviews/gov-000000000000").text
