"""A mock upstream that misbehaves on command, and the real wrapped server in front of it, both on real sockets."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from promethios_serving.settings import Settings
from promethios_serving.wrapped.app import WrappedServer

ANSWER = "Water boils at 100 degrees at sea level."


def completion(text: str | None = ANSWER, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 40, "completion_tokens": 10, "total_tokens": 50}
    choices = [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "mock"}
    return {**head, "choices": choices, "usage": usage, **more}


def event(text: str) -> bytes:
    choices = [{"index": 0, "delta": {"content": text}, "finish_reason": None}]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "mock"}
    return b"data: " + json.dumps({**head, "choices": choices}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def response(text: str = ANSWER, status: str = "completed") -> dict[str, Any]:
    """What OpenAI's POST /v1/responses answers."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    output = [{"type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": content}]
    usage = {"input_tokens": 40, "output_tokens": 10, "total_tokens": 50}
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "mock", "status": status}
    fixed = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "instructions": None}
    return {**head, **fixed, "output": output, "usage": usage}


def response_event(kind: str, **content: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **content})}\n\n".encode()


def said(text: str) -> bytes:
    """The event of a response that says a piece of text."""
    return response_event("response.output_text.delta", item_id="msg_1", output_index=0, content_index=0, delta=text)


COMPLETED = response_event("response.completed", response=response("Water boils."))
Reply = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request that reached the mock, and the means to answer it byte by byte."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    writer: asyncio.StreamWriter
    closed: threading.Event

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int, content_type: str, length: int | None = None, **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Status", f"content-type: {content_type}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        lines.append("transfer-encoding: chunked" if length is None else f"content-length: {length}")
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def chunk(self, data: bytes) -> None:
        await self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def json(self, content: Any, status: int = 200, **headers: str) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        await self.head(status, "application/json", len(raw), **headers)
        await self.send(raw)

    async def events(self, *pieces: bytes) -> None:
        await self.head(200, "text/event-stream")
        for piece in pieces:
            await self.chunk(piece)
        await self.chunk(b"")

    def hang_up(self) -> None:
        self.writer.transport.abort()


@dataclass
class MockUpstream:
    """An OpenAI-compatible server: what it was asked, and how it answers."""

    url: str = ""
    exchanges: list[Exchange] = field(default_factory=list)
    reply: Reply = field(default_factory=lambda: well_behaved)
    connections: int = 0

    @property
    def bodies(self) -> list[Any]:
        return [exchange.body for exchange in self.exchanges]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        closed = threading.Event()
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().rstrip().split("\r\n")
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
                raw = await reader.readexactly(int(headers.get("content-length", 0)))
                method, path, _ = first.split()
                exchange = Exchange(method, path, headers, raw, writer, closed)
                self.exchanges.append(exchange)
                await self.reply(exchange)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            closed.set()
            writer.close()


async def well_behaved(exchange: Exchange) -> None:
    streamed = exchange.method == "POST" and exchange.body.get("stream")
    if exchange.path.endswith("/responses"):
        await (exchange.events(said("Water "), said("boils."), COMPLETED) if streamed else exchange.json(response()))
    elif streamed:
        await exchange.events(event("Water "), event("boils."), DONE)
    else:
        await exchange.json(completion())


class Hub:
    """A hub that takes everything."""

    def __init__(self, mock: MockUpstream) -> None:
        self.url = mock.url.removesuffix("/v1")
        self.documents: dict[str, list[dict[str, Any]]] = {"/v1/outcomes": [], "/v1/reviews": []}
        self._arrived = threading.Condition()
        mock.reply = self._take

    async def _take(self, exchange: Exchange) -> None:
        if exchange.method == "GET":  # live telemetry: none
            await exchange.json({"data": [], "next": None})
            return
        with self._arrived:
            (documents,) = exchange.body.values()
            self.documents[exchange.path] += documents
            self._arrived.notify_all()
        await exchange.json({"accepted": len(documents)})

    def wait_for(self, count: int, kind: str = "outcomes") -> list[dict[str, Any]]:
        found = self.documents[f"/v1/{kind}"]
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(found) >= count, timeout=20), f"{len(found)} of {count} {kind}"
            return list(found)


@contextmanager
def in_thread(main: Callable[[asyncio.Event, Callable[[Any], None]], Awaitable[None]]) -> Iterator[Any]:
    """Run a server's loop in a thread: `main(stop, started)`; yields what it called `started` with."""
    loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    results: list[Any] = []

    def started(result: Any) -> None:
        results.append(result)
        ready.set()

    def run() -> None:
        loop.run_until_complete(main(stop, started))
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(20), "the server did not start"
        yield results[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


@contextmanager
def mock_upstream() -> Iterator[MockUpstream]:
    mock = MockUpstream()

    async def main(stop: asyncio.Event, started: Callable[[Any], None]) -> None:
        server = await asyncio.start_server(mock.handle, "127.0.0.1", 0)
        started(server.sockets[0].getsockname()[1])
        await stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    with in_thread(main) as port:
        mock.url = f"http://127.0.0.1:{port}/v1"
        yield mock


def serving(settings: Settings) -> AbstractContextManager[str]:
    """Run the wrapped server; yields its URL."""
    return serving_app(WrappedServer(settings))


@contextmanager
def serving_app(app: Any) -> Iterator[str]:
    """Run an application; yields its URL."""
    config = uvicorn.Config(
        app, port=0, loop="asyncio", http="httptools", ws="none", lifespan="on", log_level="warning"
    )
    server = uvicorn.Server(config)

    async def main(stop: asyncio.Event, started: Callable[[Any], None]) -> None:
        task = asyncio.create_task(server.serve())
        while not server.started:
            assert not task.done(), "the server ended at its start"
            await asyncio.sleep(0.005)
        started(server.servers[0].sockets[0].getsockname()[1])
        await stop.wait()
        server.should_exit = True
        await task

    with in_thread(main) as port:
        yield f"http://127.0.0.1:{port}"


def chat(content: str = "When does water boil?", **more: Any) -> dict[str, Any]:
    return {"model": "any", "messages": [{"role": "user", "content": content}], **more}
