from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from starlette.testclient import TestClient

from promethios_hub.database import database_url as parsed_url
from promethios_hub.database import migrate, open_database
from promethios_hub.tables import telemetry
from promethios_hub.telemetry import Reading, TelemetryStore
from tests.hub.conftest import MakeHub, key


def write(hub: TestClient, subject: dict[str, str], **telemetry: Any) -> Any:
    return hub.post("/v1/telemetry", json={"subject": subject, "telemetry": telemetry})


def values(hub: TestClient, after: int = 0) -> dict[str, dict[str, Any]]:
    data = hub.get("/v1/telemetry", params={"after": after}).json()["data"]
    return {
        "/".join(str(part) for part in entry["subject"].values()): {
            channel: reading["value"] for channel, reading in entry["telemetry"].items()
        }
        for entry in data
    }


def test_the_newest_reading_of_each_channel_of_each_subject_is_kept(hub: TestClient) -> None:
    write(hub, {"tenant": "acme"}, trust=0.4, emotion={"value": "CALM", "age_s": 3})
    write(hub, {"tenant": "acme", "agent": "a", "session": "s"}, trust=0.9)
    write(hub, {"tenant": "acme"}, trust=0.5)
    write(hub, {"tenant": "acme"}, emotion={"value": "ANXIOUS", "age_s": 60})  # older than what is known
    assert values(hub) == {"acme/None/None": {"trust": 0.5, "emotion": "CALM"}, "acme/a/s": {"trust": 0.9}}


def test_a_reading_carries_its_own_time(hub: TestClient) -> None:
    write(hub, {}, trust={"value": 0.4, "at": "2026-11-23T04:00:00Z"})
    reading = hub.get("/v1/telemetry").json()["data"][0]["telemetry"]["trust"]
    assert reading == {"value": 0.4, "at": "2026-11-23T04:00:00+00:00"}


def test_a_change_after_the_cursor_is_never_missed(hub: TestClient) -> None:
    write(hub, {"agent": "a"}, trust=0.1)
    cursor = hub.get("/v1/telemetry").json()["next"]
    write(hub, {"agent": "b"}, trust=0.2)
    assert values(hub, cursor)["None/b/None"] == {"trust": 0.2}


@pytest.mark.parametrize("telemetry", [{}, {"trust": "high"}, {"mood": 1}, {"emotion": {"value": "HAPPY"}}], ids=str)
def test_malformed_telemetry_is_refused_whole(hub: TestClient, telemetry: dict[str, Any]) -> None:
    reply = write(hub, {}, **{"verify": 0.5, **telemetry} if telemetry else {})
    assert reply.status_code == 400, reply.text
    assert values(hub) == {}


def test_what_was_withdrawn_is_told_to_engines_and_nothing_older_brings_it_back(hub: TestClient) -> None:
    agent = {"tenant": "acme", "agent": "a"}
    write(hub, {"tenant": "acme"}, trust=0.9)
    write(hub, agent, trust=0.1, verify=0.2, attest=0.3)
    cursor = hub.get("/v1/telemetry").json()["next"]
    withdrawn = hub.delete("/v1/telemetry", params={**agent, "channel": ["trust", "verify"]})
    assert withdrawn.json() == {"withdrawn": 2}
    assert values(hub, cursor)["acme/a/None"] == {"trust": None, "verify": None, "attest": 0.3}
    write(hub, agent, trust={"value": 0.1, "age_s": 60})
    write(hub, agent, verify=0.8)
    assert values(hub)["acme/a/None"] == {"trust": None, "verify": 0.8, "attest": 0.3}
    assert values(hub)["acme/None/None"] == {"trust": 0.9}, "another subject's stands"
    assert hub.delete("/v1/telemetry", params=agent).json() == {"withdrawn": 2}
    assert hub.delete("/v1/telemetry", params=agent).json() == {"withdrawn": 0}


def test_a_channel_that_nobody_knows_cannot_be_withdrawn(hub: TestClient) -> None:
    write(hub, {}, trust=0.4)
    refused = hub.delete("/v1/telemetry", params={"channel": ["trust", "trst"]})
    assert refused.status_code == 400
    assert "'trst' is no channel; did you mean 'trust'?" in refused.json()["error"]["message"]
    assert hub.delete("/v1/telemetry", params={"chanel": "trust"}).status_code == 400, "not everything, by a slip"
    assert values(hub) == {"None/None/None": {"trust": 0.4}}


def test_a_tenants_key_withdraws_of_its_own_tenant_only(make_hub: MakeHub, access_file: Path) -> None:
    hub = make_hub(access_file=access_file)
    for tenant in ("acme", "other"):
        body = {"subject": {"tenant": tenant}, "telemetry": {"trust": 0.4}}
        assert hub.post("/v1/telemetry", json=body, headers=key("telemetry")).status_code == 200
    headers = key("acme-telemetry")
    assert hub.delete("/v1/telemetry", params={"tenant": "other"}, headers=headers).status_code == 403
    assert hub.delete("/v1/telemetry", headers=key("acme-app")).status_code == 403
    assert hub.delete("/v1/telemetry", headers=headers).json() == {"withdrawn": 1}
    found = hub.get("/v1/telemetry", headers=key("engine")).json()["data"]
    assert {e["subject"]["tenant"]: e["telemetry"]["trust"]["value"] for e in found} == {"acme": None, "other": 0.4}


def test_a_tenants_key_writes_its_own_tenant_only(make_hub: MakeHub, access_file: Path) -> None:
    hub = make_hub(access_file=access_file)
    headers = key("acme-telemetry")
    body = {"telemetry": {"trust": 0.4}}
    assert hub.post("/v1/telemetry", json=body, headers=headers).status_code == 200
    other = {**body, "subject": {"tenant": "other"}}
    assert hub.post("/v1/telemetry", json=other, headers=headers).status_code == 403
    assert hub.post("/v1/telemetry", json=body, headers=key("acme-app")).status_code == 403
    found = hub.get("/v1/telemetry", headers=key("engine")).json()["data"]
    assert [entry["subject"]["tenant"] for entry in found] == ["acme"]


def test_a_tenants_engine_reads_its_own_tenant_and_what_is_about_everybody(
    make_hub: MakeHub, access_file: Path
) -> None:
    hub = make_hub(access_file=access_file)
    for subject in ({}, {"tenant": "acme"}, {"tenant": "other", "session": "s"}):
        body = {"subject": subject, "telemetry": {"trust": 0.4}}
        assert hub.post("/v1/telemetry", json=body, headers=key("telemetry")).status_code == 200
    data = hub.get("/v1/telemetry", headers=key("acme-engine")).json()["data"]
    assert {entry["subject"]["tenant"] for entry in data} == {None, "acme"}
    assert len(hub.get("/v1/telemetry", headers=key("engine")).json()["data"]) == 3


def test_a_write_that_had_to_wait_takes_its_number_afterwards(database_url: str) -> None:
    """Engines look back some seconds; a number from before the wait would be too old to be seen."""

    async def write_while_another_does() -> tuple[int, int]:
        engine = open_database(parsed_url(database_url), pool_size=1)
        await migrate(engine)
        store = TelemetryStore(engine)
        async with engine.connect() as other:  # PostgreSQL: the only connection; SQLite: the only writer
            if engine.dialect.name == "sqlite":
                await other.execute(text("BEGIN IMMEDIATE"))
            writing = asyncio.create_task(store.write({}, [Reading("trust", 0.4, datetime.now(UTC))]))
            await asyncio.sleep(0.3)
            free_at = int(time.time() * 1e6)
            await other.rollback()
        await writing
        async with engine.connect() as connection:
            number = (await connection.execute(select(telemetry.c.changed))).scalar_one()
        await engine.dispose()
        return free_at, number

    free_at, number = asyncio.run(write_while_another_does())
    assert number >= free_at
