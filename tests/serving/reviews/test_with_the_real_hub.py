"""Engine and hub together, both as they run: what the engine promised is in the hub's database once."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promethios_serving.reviews.reviews import Reviews
from promethios_serving.reviews.sender import Sender
from promethios_serving.reviews.spool import Spool
from promethios_serving.telemetry.hub import HubTelemetry
from promethios_serving.telemetry.source import NoTelemetry
from promethios_serving.telemetry.subject import Subject
from tests.hub.servers import HubProcess
from tests.serving.reviews.test_review_record import MODEL, STATE, decided

ESCALATIONS = 60


@pytest.fixture
def real_hub(tmp_path: Path) -> Iterator[HubProcess]:
    hub = HubProcess({"PROMETHIOS_HUB_DATABASE_URL": f"sqlite:///{tmp_path}/hub.db"}, tmp_path / "hub.log")
    hub.start()
    yield hub
    hub.stop()


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as reply:
        return json.load(reply)


def post(url: str, body: Any) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.status == 200


def waiting_reviews(hub: HubProcess) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = 0
    while after is not None:
        page = get(f"{hub.url}/v1/reviews?state=waiting&limit=200&after={after}")
        found, after = found + page["data"], page["next"]
    return found


async def escalated(reviews: Reviews, number: int) -> list[str]:
    names = []
    for _ in range(number):
        request = decided()
        review = await reviews.open(request, STATE)
        assert review is not None
        review.texts[0] = f"A person looks at {request.id}."
        await review.aclose()
        names.append(request.id)
    return names


def test_reviews_survive_the_death_of_the_hub_and_are_there_once(real_hub: HubProcess, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", "engine-0", 10_000_000)
    reviews = Reviews(spool, engine="engine-0", model=MODEL, audit_rate=0.0)

    async def run() -> list[str]:
        sending = asyncio.create_task(Sender(spool, real_hub.url, None, timeout_s=2.0).run())
        names = []
        for _ in range(2):
            names += await escalated(reviews, ESCALATIONS // 3)
            await asyncio.to_thread(real_hub.kill)
            names += await escalated(reviews, ESCALATIONS // 6)
            await asyncio.to_thread(real_hub.start)
        async with asyncio.timeout(30):
            while spool.waiting:
                await asyncio.sleep(0.02)
        sending.cancel()
        return names

    names = asyncio.run(run())
    found = waiting_reviews(real_hub)
    assert len(names) == ESCALATIONS
    assert sorted(review["id"] for review in found) == sorted(names)
    one = get(f"{real_hub.url}/v1/reviews/{names[0]}")
    assert one["response"] == f"A person looks at {names[0]}."
    assert not list((tmp_path / "spool").glob("*/rejected/*"))


def test_telemetry_about_a_session_reaches_the_requests_of_that_session_only(real_hub: HubProcess) -> None:
    everybody = {"trust": 0.9, "verify": 0.9}
    post(f"{real_hub.url}/v1/telemetry", {"telemetry": everybody})
    session = {"tenant": "acme", "agent": "triage", "session": "s-1"}
    post(f"{real_hub.url}/v1/telemetry", {"subject": session, "telemetry": {"trust": {"value": 0.2, "age_s": 30}}})
    source = HubTelemetry(real_hub.url, None, 5.0, NoTelemetry())
    asyncio.run(source.refresh())
    assert source.error is None
    of_the_session = source.state(Subject(tenant="acme", agent="other", session="s-1"))
    assert of_the_session is not None and of_the_session.trust is not None and of_the_session.verify is not None
    assert of_the_session.trust.value == 0.2
    assert of_the_session.trust.age_s >= 30
    assert of_the_session.verify.value == 0.9
    of_another = source.state(Subject(tenant="acme", session="s-2"))
    assert of_another is not None and of_another.trust is not None
    assert of_another.trust.value == 0.9
