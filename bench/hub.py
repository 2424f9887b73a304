"""The hub under load on PostgreSQL: reviews a second, and how long its pages take with 100,000 reviews.

PostgreSQL with its durable defaults, the hub as one process, and the clients share this machine's cores. Every accepted
review is counted again in the database.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psycopg

from tests.hub.documents import review_record
from tests.hub.servers import HubProcess, PostgresqlServer, postgresql_programs

SEEDED = 100_000
BATCH = 500
SINGLE = 3_000
CONNECTIONS = 32
LOOKS = 15
PAGES = {
    "queue": "/v1/reviews?limit=50",
    "queue of a domain": "/v1/reviews?domain=legal&limit=50",
    "settled": "/v1/reviews?state=done&limit=50",
    "search, two words": "/v1/reviews?state=done&q=warfarin%20pregnancy&limit=50",
    "search, one word": "/v1/reviews?q=warfarin&limit=50",
    "one review": "/v1/reviews/gov-000000000007",
    "console: queue": "/console/reviews",
    "console: search": "/console/reviews?q=warfarin",
    "console: one review": "/console/reviews/gov-000000000008",
    "console: metrics": "/console/metrics",
}


def measure(*, seeded: int = SEEDED) -> dict[str, Any]:
    """Return the numbers, ready for bench/results."""
    programs = postgresql_programs()
    if programs is None:
        raise SystemExit("PostgreSQL is not installed: nothing to measure")
    with tempfile.TemporaryDirectory() as folder, _servers(programs, Path(folder)) as (database, hub):
        result = {
            "postgresql": subprocess.check_output([programs / "postgres", "--version"], text=True).strip(),
            "bytes_a_review": len(json.dumps(review_record(0))),
            "one_review_a_request": asyncio.run(_intake(hub, range(SINGLE), size=1, connections=CONNECTIONS)),
            "batches": asyncio.run(_intake(hub, range(SINGLE, seeded), size=BATCH, connections=2)),
        }
        with psycopg.connect(database.url, autocommit=True) as connection:
            stored = connection.execute("SELECT count(*) FROM reviews").fetchone()
            assert stored == (seeded,), f"{stored} reviews stored of {seeded}"
            connection.execute(
                "UPDATE reviews SET state = 'done', action = 'approve', final_decision = decision, version = 3,"
                " final_response = response, reviewer = 'ann', decided_at = arrived_at + interval '5 minutes'"
                " WHERE number % 5 <> 0"
            )
            connection.execute("VACUUM ANALYZE reviews")
        result["pages_ms"] = asyncio.run(_pages(hub, PAGES))
        result["reviews_stored"] = seeded
        return result


@contextmanager
def _servers(programs: Path, folder: Path) -> Iterator[tuple[PostgresqlServer, HubProcess]]:
    database = PostgresqlServer(programs)
    database.start()
    hub = HubProcess({"PROMETHIOS_HUB_DATABASE_URL": database.url}, folder / "hub.log")
    try:
        hub.start()
        yield database, hub
    finally:
        hub.stop()
        database.stop()


async def _intake(hub: HubProcess, numbers: Sequence[int], *, size: int, connections: int) -> dict[str, float]:
    """Send records in requests of `size` over `connections`; returns reviews a second and milliseconds a request."""
    bodies = iter([numbers[start : start + size] for start in range(0, len(numbers), size)])
    took: list[float] = []

    async def client(session: aiohttp.ClientSession) -> None:
        for part in bodies:
            body = json.dumps({"reviews": [review_record(number) for number in part]})
            started = time.perf_counter()
            async with session.post(
                f"{hub.url}/v1/reviews", data=body, headers={"content-type": "application/json"}
            ) as reply:
                text = await reply.text()
                assert reply.status == 200 and json.loads(text)["accepted"] == len(part), text
            took.append(time.perf_counter() - started)

    started = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(client(session) for _ in range(connections)))
    seconds = time.perf_counter() - started
    return {
        "connections": connections,
        "reviews_a_request": size,
        "reviews_per_s": round(len(numbers) / seconds),
        "request_p50_ms": round(statistics.median(took) * 1e3, 1),
        "request_p99_ms": round(statistics.quantiles(took, n=100)[98] * 1e3, 1),
    }


async def _pages(hub: HubProcess, pages: dict[str, str]) -> dict[str, dict[str, float]]:
    """Return the median and the slowest of LOOKS looks at each page, in milliseconds; the pages take turns."""
    took: dict[str, list[float]] = {name: [] for name in pages}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.post(f"{hub.url}/console/sign-in", headers={"origin": hub.url}) as reply:
            assert reply.status == 200, await reply.text()
        for look in range(LOOKS + 1):
            for name, path in pages.items():
                started = time.perf_counter()
                async with session.get(hub.url + path) as reply:
                    text = await reply.text()
                    assert reply.status == 200, f"{path}: {text[:500]}"
                if look:  # the first one fills caches
                    took[name].append((time.perf_counter() - started) * 1e3)
    return {
        name: {"p50": round(statistics.median(times), 1), "max": round(max(times), 1)} for name, times in took.items()
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
