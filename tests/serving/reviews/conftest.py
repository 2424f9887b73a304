"""A hub as the engine sees it: takes documents once by their id, and misbehaves on demand."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from promethios_serving.reviews import sender
from promethios_serving.reviews.sender import Sender
from promethios_serving.reviews.spool import Spool

Reply = Callable[[list[dict[str, Any]]], Coroutine[Any, Any, web.StreamResponse | None]]


@dataclass
class FakeHub:
    """What arrived. replies: how the next batches are answered, instead of being taken."""

    taken: dict[str, dict[str, Any]] = field(default_factory=dict)
    arrivals: Counter[str] = field(default_factory=Counter)
    requests: list[Any] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    url: str = ""

    async def take(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        kind = request.path.rsplit("/", 1)[1]
        self.requests.append((kind, request.headers.get("authorization"), await request.json()))
        documents = body[kind]
        reply = await self.replies.pop(0)(documents) if self.replies else None
        if reply is not None:
            return reply
        self.store(documents)
        return web.json_response({"accepted": len(documents), "merged": 0})

    def store(self, documents: list[dict[str, Any]]) -> None:
        for document in documents:
            known = self.taken.setdefault(document["id"], document)
            if known.get("response") is None:
                known["response"] = document.get("response")
            self.arrivals[document["id"]] += 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/{kind}", self.take)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        try:
            yield self.url
        finally:
            await runner.cleanup()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "_FIRST_WAIT_S", 0.01)


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path, "engine-0", 10_000_000)


async def emptied(spool: Spool, url: str, **kwargs: Any) -> None:
    """Let a sender run until nothing waits."""
    sending = asyncio.create_task(Sender(spool, url, "pk-engine", **kwargs).run())
    try:
        async with asyncio.timeout(20):
            while spool.waiting:
                await asyncio.sleep(0.01)
    finally:
        sending.cancel()


async def sent_once(spool: Spool, url: str, **kwargs: Any) -> None:
    """Let a sender try once."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=kwargs.pop("timeout_s", 5))) as session:
        await Sender(spool, url, "pk-engine", **kwargs).send_all(session)


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
