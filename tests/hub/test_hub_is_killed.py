"""Hub and database are killed while engines send and reviewers decide: nothing is lost, nothing is there twice."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
from aiohttp import web

from tests.hub.documents import review_record
from tests.hub.servers import HubProcess, PostgresqlServer, postgresql_programs

RECORDS = 400
SENDERS = 4
KILLS = 3
SECRET = "whsec_cHJvbWV0aGlvcy10ZXN0LXNlY3JldC0wMDAwMDAwMQ=="

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        postgresql_programs() is None, reason="PostgreSQL is not installed (Debian: apt install postgresql)"
    ),
]


@pytest.fixture
def database() -> Iterator[PostgresqlServer]:
    programs = postgresql_programs()
    assert programs is not None
    server = PostgresqlServer(programs)
    server.start()
    yield server
    server.stop()


class Receiver:
    """A webhook endpoint that fails every third time."""

    def __init__(self) -> None:
        self.calls = 0
        self.taken: Counter[str] = Counter()

    async def handle(self, request: web.Request) -> web.Response:
        self.calls += 1
        if self.calls % 3 == 0:
            return web.Response(status=500)
        self.taken[request.headers["webhook-id"]] += 1
        return web.Response()


@pytest.mark.parametrize("victim", ["hub", "database"])
def test_nothing_is_lost_and_nothing_is_there_twice(victim: str, database: PostgresqlServer, tmp_path: Path) -> None:
    asyncio.run(scenario(victim, database, tmp_path))


async def scenario(victim: str, database: PostgresqlServer, folder: Path) -> None:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/", receiver.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    environment = {
        "PROMETHIOS_HUB_DATABASE_URL": database.url,
        "PROMETHIOS_HUB_WEBHOOK_URL": f"http://127.0.0.1:{runner.addresses[0][1]}/",
        "PROMETHIOS_HUB_WEBHOOK_SECRET": SECRET,
    }
    hub = HubProcess(environment, folder / "hub.log")
    await asyncio.to_thread(hub.start)
    try:
        decided = await under_load(victim, hub, database)
        require_all_records(database, decided)
        await webhooks_of(decided, receiver)
    finally:
        await asyncio.to_thread(hub.stop)
        await runner.cleanup()
    assert "Traceback" not in hub.log()
    assert "Question" not in hub.log(), "a conversation stands in the log"


async def under_load(victim: str, hub: HubProcess, database: PostgresqlServer) -> dict[str, str]:
    """Send and decide while the victim is killed; returns the decided reviews and their responses."""
    waiting = list(range(RECORDS))
    stored: list[int] = []
    decided: dict[str, str] = {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:

        async def engine() -> None:
            while waiting:
                numbers = [waiting.pop() for _ in range(min(5, len(waiting)))]
                # an escalation is sent twice, as engines do: before its first byte, and with its response
                for response in (None, "Handed over."):
                    records = [review_record(number, response=response) for number in numbers]
                    await until_taken(session, f"{hub.url}/v1/reviews", {"reviews": records})
                stored.extend(numbers)

        async def reviewer() -> None:
            while len(decided) < RECORDS // 4:
                while not stored:
                    await asyncio.sleep(0.01)
                review_id = f"gov-{stored.pop():012d}"
                reply = f"Answer to {review_id}"
                body = {"version": 1, "action": "override", "decision": "caveat", "response": reply}
                await until_taken(session, f"{hub.url}/v1/reviews/{review_id}/decide", body, ok_if_conflict=True)
                decided[review_id] = reply

        await asyncio.gather(*(engine() for _ in range(SENDERS)), reviewer(), killer(victim, hub, database, waiting))
    return decided


async def killer(victim: str, hub: HubProcess, database: PostgresqlServer, waiting: list[int]) -> None:
    """Kill and start again when a quarter, a half and three quarters of the records are on their way."""
    for kill in range(1, KILLS + 1):
        while RECORDS - len(waiting) < kill * RECORDS // (KILLS + 1):
            await asyncio.sleep(0.005)
        server = hub if victim == "hub" else database
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)


async def until_taken(
    session: aiohttp.ClientSession, url: str, body: dict[str, Any], *, ok_if_conflict: bool = False
) -> None:
    """Send until the hub has it. A conflict after a lost reply means that the first attempt was taken."""
    repeated = False
    while True:
        try:
            async with session.post(url, json=body) as reply:
                text = await reply.text()
        except (aiohttp.ClientError, TimeoutError, OSError):
            repeated = True
            await asyncio.sleep(0.05)
            continue
        if reply.status == HTTPStatus.OK or (ok_if_conflict and repeated and reply.status == HTTPStatus.CONFLICT):
            return
        assert reply.status == HTTPStatus.SERVICE_UNAVAILABLE, f"{url}: {reply.status} {text}"
        assert json.loads(text)["error"]["code"] == "database_unavailable"
        repeated = True
        await asyncio.sleep(0.05)


def require_all_records(database: PostgresqlServer, decided: dict[str, str]) -> None:
    with psycopg.connect(database.url) as connection:
        rows = connection.execute("SELECT id, response, state, final_response FROM reviews").fetchall()
    assert sorted(row[0] for row in rows) == [f"gov-{number:012d}" for number in range(RECORDS)]
    assert {row[1] for row in rows} == {"Handed over."}
    assert {row[0]: row[3] for row in rows if row[2] == "done"} == decided


async def webhooks_of(decided: dict[str, str], receiver: Receiver) -> None:
    """Wait for the webhooks of all decided reviews: what failed, or was being sent by a killed hub, comes again."""
    deadline = asyncio.get_running_loop().time() + 150
    while set(receiver.taken) != set(decided):
        missing = set(decided) - set(receiver.taken)
        assert not set(receiver.taken) - set(decided), "told of a review that nobody decided"
        assert asyncio.get_running_loop().time() < deadline, f"never told of {len(missing)} reviews"
        await asyncio.sleep(0.1)
