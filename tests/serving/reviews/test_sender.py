from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from promethios_serving.reviews import sender
from promethios_serving.reviews.sender import HubAway
from promethios_serving.reviews.spool import Spool
from tests.serving.reviews.conftest import FakeHub, emptied, sent_once

Documents = list[dict[str, Any]]


def spooled(spool: Spool, number: int) -> list[str]:
    names = [f"gov-{index}" for index in range(number)]
    for name in names:
        spool.write("reviews", {"id": name, "response": None})
    return names


def counted(metric: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(metric, labels) or 0.0


def test_everything_is_sent_in_batches_and_forgotten(
    spool: Spool, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "MAX_BATCH", 5)
    names, before = spooled(spool, 12), counted("promethios_reviews_sent_total", kind="reviews")

    async def run() -> None:
        async with hub.running() as url:
            await sent_once(spool, url)

    asyncio.run(run())
    assert list(hub.taken) == names
    assert [len(body["reviews"]) for _, _, body in hub.requests] == [5, 5, 2]
    assert spool.waiting == 0
    assert counted("promethios_reviews_sent_total", kind="reviews") == before + 12
    assert counted("promethios_reviews_spooled") == 0


def test_the_sender_shows_its_key_and_sends_outcomes_to_their_own_address(spool: Spool, hub: FakeHub) -> None:
    spool.write("outcomes", {"id": "gov-1"})

    async def run() -> None:
        async with hub.running() as url:
            await emptied(spool, f"{url}/")

    asyncio.run(run())
    assert hub.requests == [("outcomes", "Bearer pk-engine", {"outcomes": [{"id": "gov-1"}]})]


def test_a_hub_that_comes_late_gets_everything(spool: Spool, hub: FakeHub, unused_port: int) -> None:
    names, before = spooled(spool, 3), counted("promethios_hub_errors_total", reason="unreachable")

    async def run() -> None:
        with pytest.raises(HubAway):
            await sent_once(spool, f"http://127.0.0.1:{unused_port}")
        assert spool.waiting == 3
        async with hub.running() as url:
            await sent_once(spool, url)

    asyncio.run(run())
    assert list(hub.taken) == names
    assert counted("promethios_hub_errors_total", reason="unreachable") == before + 1


@pytest.mark.parametrize("status", [301, 401, 403, 404, 408, 409, 429, 500, 503])
def test_a_hub_that_says_later_or_is_set_up_wrongly_is_asked_again(spool: Spool, hub: FakeHub, status: int) -> None:
    async def busy(documents: Documents) -> web.Response:
        return web.Response(status=status)

    names = spooled(spool, 2)
    hub.replies.append(busy)

    async def run() -> None:
        async with hub.running() as url:
            await emptied(spool, url)

    asyncio.run(run())
    assert list(hub.taken) == names
    assert len(hub.requests) == 2


def test_a_batch_whose_reply_was_lost_is_sent_again_and_stored_once(spool: Spool, hub: FakeHub) -> None:
    async def stored_then_cut(documents: Documents) -> web.StreamResponse:
        hub.store(documents)
        raise ConnectionResetError

    async def half_a_reply(documents: Documents) -> web.StreamResponse:
        hub.store(documents)
        return web.Response(status=200, headers={"content-length": "500"}, body=b"{")

    async def too_slow(documents: Documents) -> None:
        hub.store(documents)
        await asyncio.sleep(30)

    names = spooled(spool, 4)
    hub.replies += [stored_then_cut, half_a_reply, too_slow]

    async def run() -> None:
        async with hub.running() as url:
            await emptied(spool, url, timeout_s=0.3)

    asyncio.run(run())
    assert list(hub.taken) == names
    assert set(hub.arrivals.values()) == {4}, "each batch was stored and sent again; the id keeps it single"


@pytest.mark.parametrize("status", [400, 413, 422])
def test_documents_that_the_hub_refuses_for_ever_are_put_aside_and_the_others_pass(
    spool: Spool, hub: FakeHub, tmp_path: Path, status: int
) -> None:
    names, before = spooled(spool, 9), counted("promethios_hub_errors_total", reason="refused")
    bad = {names[3], names[8]}

    async def picky(documents: Documents) -> web.Response | None:
        refused = [document["id"] for document in documents if document["id"] in bad]
        return web.Response(status=status, text=f"no: {refused}") if refused else None

    hub.replies += [picky] * 40

    async def run() -> None:
        async with hub.running() as url:
            await sent_once(spool, url)

    asyncio.run(run())
    assert set(hub.taken) == set(names) - bad
    assert spool.waiting == 0
    aside = [json.loads(file.read_bytes()) for file in tmp_path.glob("*/rejected/*.json")]
    assert {entry["document"]["id"] for entry in aside} == bad
    assert all(entry["reason"].startswith("no: ") for entry in aside)
    assert counted("promethios_hub_errors_total", reason="refused") == before + 2


def test_while_the_hub_is_slow_new_documents_are_taken_at_once(spool: Spool, hub: FakeHub) -> None:
    release = asyncio.Event()

    async def slow(documents: Documents) -> None:
        await release.wait()

    spooled(spool, 1)
    hub.replies.append(slow)

    async def run() -> None:
        async with hub.running() as url:
            sending = asyncio.create_task(emptied(spool, url))
            while not hub.requests:
                await asyncio.sleep(0.001)
            await spool.put("reviews", {"id": "later", "response": None})
            assert hub.taken == {}
            release.set()
            await sending

    asyncio.run(run())
    assert list(hub.taken) == ["gov-0", "later"]
