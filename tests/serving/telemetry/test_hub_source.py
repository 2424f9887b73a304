from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY

from promethios.errors import TelemetryError
from promethios.telemetry.state import GovernanceState, stale_level
from promethios_serving.telemetry import hub
from promethios_serving.telemetry.hub import HubTelemetry
from promethios_serving.telemetry.source import LastGood, NoTelemetry, TelemetrySource
from promethios_serving.telemetry.subject import Subject

ACME = Subject(tenant="acme", agent="triage", session="s-1")


class Pages:
    """What the hub answers, one page a call; an exception instead of a page is raised. asked: the cursors."""

    def __init__(self) -> None:
        self.pages: list[Any] = []
        self.asked: list[str | None] = []

    async def fetch(self, url: str, *, parameters: Any, headers: Any, **kwargs: Any) -> bytes:
        assert (url, headers) == ("http://hub/v1/telemetry", {"authorization": "Bearer pk-engine"})
        self.asked.append(parameters.get("after"))
        page = self.pages.pop(0) if self.pages else b'{"next": null, "data": []}'
        if isinstance(page, Exception):
            raise page
        return bytes(page)


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pages]:
    pages = Pages()
    monkeypatch.setattr(hub, "fetch", pages.fetch)
    yield pages


def page(following: Any, *entries: tuple[dict[str, str], dict[str, Any]]) -> bytes:
    data = [{"subject": subject, "telemetry": telemetry} for subject, telemetry in entries]
    return json.dumps({"next": following, "data": data}).encode()


def at(value: Any, age_s: float = 0.0) -> dict[str, Any]:
    return {"value": value, "at": time.time() - age_s}


def source(beneath: TelemetrySource | None = None) -> HubTelemetry:
    return HubTelemetry("http://hub/", "pk-engine", 1.0, beneath or NoTelemetry())


def values(state: GovernanceState | None) -> dict[str, Any]:
    return {channel.name: reading.value for channel, reading in state or GovernanceState() if reading is not None}


def errors() -> float:
    return REGISTRY.get_sample_value("promethios_telemetry_errors_total", {"source": "hub"}) or 0.0


def test_channel_by_channel_the_session_wins_over_agent_tenant_and_everybody(pages: Pages) -> None:
    pages.pages = [
        page(
            1,
            ({}, {"trust": at(0.9), "verify": at(0.9), "attest": at(0.9), "bound": at(0.9)}),
            ({"tenant": "acme"}, {"trust": at(0.8), "verify": at(0.8), "attest": at(0.8)}),
            ({"tenant": "acme", "agent": "triage"}, {"trust": at(0.7), "verify": at(0.7)}),
            ({"tenant": "acme", "agent": "triage", "session": "s-1"}, {"trust": at(0.6)}),
            ({"tenant": "evil", "session": "s-1"}, {"trust": at(1.0)}),
        )
    ]
    telemetry = source()
    asyncio.run(telemetry.refresh())
    assert values(telemetry.state(ACME)) == {"trust": 0.6, "verify": 0.7, "attest": 0.8, "bound": 0.9}
    assert values(telemetry.state(Subject(tenant="other", session="s-1")))["trust"] == 0.9
    assert values(telemetry.state(Subject(session="s-1")))["trust"] == 0.9


def test_a_low_reading_about_a_session_holds_on_when_it_is_stale(pages: Pages) -> None:
    pages.pages = [page(1, ({}, {"trust": at(0.9)}), ({"tenant": "acme", "session": "s-1"}, {"trust": at(0.1, 3600)}))]
    telemetry = source()
    asyncio.run(telemetry.refresh())
    state = telemetry.state(ACME)
    assert state is not None and state.trust is not None
    assert state.trust.value == 0.1
    assert {c.name: stale_level(c, r) for c, r in state if r is not None} == {"trust": 4}


def test_what_was_withdrawn_gives_way_to_what_is_known_of_the_others(pages: Pages) -> None:
    session = {"tenant": "acme", "agent": "triage", "session": "s-1"}
    pages.pages = [page(1, ({"tenant": "acme"}, {"trust": at(0.8)}), (session, {"trust": at(0.1), "verify": at(0.2)}))]
    telemetry = source()
    asyncio.run(telemetry.refresh())
    assert values(telemetry.state(ACME)) == {"trust": 0.1, "verify": 0.2}
    pages.pages = [page(2, (session, {"trust": at(None)}))]
    asyncio.run(telemetry.refresh())
    assert values(telemetry.state(ACME)) == {"trust": 0.8, "verify": 0.2}
    withdrawn = page(3, (session, {"verify": at(None)}), ({"tenant": "acme"}, {"trust": at(None)}))
    pages.pages = [withdrawn, withdrawn]  # the hub repeats its last seconds
    asyncio.run(telemetry.refresh())
    assert telemetry.state(ACME) is None and telemetry.error is None
    assert pages.pages == [], "it was news, and the second time no more"


def test_only_news_is_asked_for_and_page_after_page_until_there_is_none(pages: Pages) -> None:
    first, second = page(7, ({}, {"trust": at(0.5)})), page(9, ({}, {"verify": at(0.6)}))
    pages.pages = [first, second, second]
    telemetry = source()
    asyncio.run(telemetry.refresh())
    asyncio.run(telemetry.refresh())
    assert pages.asked == [None, "7", "9", "9"]
    assert values(telemetry.state()) == {"trust": 0.5, "verify": 0.6}


@pytest.mark.parametrize("reply", [b"nonsense", b"[]", b'{"data": []}', b"[" * 100_000, TelemetryError("down")])
def test_a_hub_that_fails_keeps_the_last_readings_and_is_counted(pages: Pages, reply: Any) -> None:
    pages.pages = [page(1, ({}, {"trust": at(0.5)})), page(1), reply]
    telemetry, before = source(), errors()
    asyncio.run(telemetry.refresh())
    asyncio.run(telemetry.refresh())
    assert values(telemetry.state()) == {"trust": 0.5}
    assert "http://hub/v1/telemetry" in (telemetry.error or "")
    assert errors() == before + 1
    asyncio.run(telemetry.refresh())
    assert telemetry.error is None


@pytest.mark.parametrize(
    "bad",
    [
        ({"tennant": "acme"}, {"trust": {"value": 0.1, "at": 1.0}}),
        ({}, {"trust": 0.1}),
        ({}, {"trust": {"value": "high", "at": 1.0}}),
        ({}, {"trust": {"value": 0.1, "at": "yesterday"}}),
        ({}, {"trust": {"value": 0.1, "at": 1e300}}),
        ({}, {"truth": {"value": 0.1, "at": 1.0}}),
    ],
)
def test_one_bad_entry_is_counted_and_does_not_stop_the_others(pages: Pages, bad: Any) -> None:
    pages.pages = [page(1, bad, ({"tenant": "acme"}, {"trust": at(0.5)}))]
    telemetry, before = source(), errors()
    asyncio.run(telemetry.refresh())
    assert values(telemetry.state(ACME)) == {"trust": 0.5}
    assert errors() == before + 1


def test_another_source_lies_beneath(pages: Pages) -> None:
    class Fixed(LastGood):
        name = "fixed"

        def state(self, subject: Subject = ACME) -> GovernanceState:
            return GovernanceState.of(trust=0.9, verify=0.4)

        async def refresh(self) -> None:
            self.refreshed = True

    beneath = Fixed()
    beneath.error = "its own trouble"
    telemetry = source(beneath)
    pages.pages = [page(1, ({}, {"trust": at(0.5)}))]
    asyncio.run(telemetry.refresh())
    assert values(telemetry.state()) == {"trust": 0.5, "verify": 0.4}
    assert beneath.refreshed
    assert telemetry.error == "its own trouble"


def test_subjects_that_nobody_speaks_about_are_forgotten_and_their_number_is_bounded(
    pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "MAX_SUBJECTS", 3)
    entries = [({"tenant": "acme", "session": f"s-{number}"}, {"trust": at(0.1)}) for number in range(5)]
    pages.pages = [page(1, ({}, {"trust": at(0.9)}), *entries)]
    telemetry = source()
    asyncio.run(telemetry.refresh())
    trusts = [values(telemetry.state(Subject(tenant="acme", session=f"s-{number}")))["trust"] for number in range(5)]
    assert trusts == [0.9, 0.9, 0.9, 0.1, 0.1]
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 2 * hub.FORGOTTEN_AFTER_S)
    asyncio.run(telemetry.refresh())
    assert values(telemetry.state(Subject(tenant="acme", session="s-4")))["trust"] == 0.9
