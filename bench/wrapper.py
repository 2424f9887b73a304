"""What the wrapper's ASGI pieces add to a request, without gate and model: two servers, requests interleaved.

Both run the same application, which answers as vLLM's chat route does; one has every piece of the wrapper around it,
with an access file and quotas. One client, one kept-alive connection to each.

    python bench/wrapper.py
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

KEY = "pk-benchmark"
ROUNDS, BLOCK, WARM_UP = 40, 50, 300
BODY = json.dumps(
    {"model": "promethios", "messages": [{"role": "user", "content": "Can my mother take it? " * 40}], "max_tokens": 1}
).encode()
_ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "promethios",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Ask first. " * 40}}],
        "usage": {"prompt_tokens": 300, "completion_tokens": 100, "total_tokens": 400},
    }
).encode()


async def route(scope: Any, receive: Any, send: Any) -> None:
    """Read the body, parse it as vLLM would, and answer; the gate, if there is one, has decided."""
    from promethios_serving.request_context import CURRENT, Outcome

    if scope["type"] == "lifespan":
        return
    body = b""
    while (message := await receive()).get("more_body"):
        body += message["body"]
    json.loads(body + message["body"])
    if (request := CURRENT.get()) is not None:
        request.outcome = Outcome(decision="answer", probability=0.1, threshold=0.4, degraded=False)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(_ANSWER)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _ANSWER})


def application(folder: Path | None) -> Any:
    """Return a FastAPI application with the route, as vLLM's is one; with a folder, as the wrapper leaves it."""
    from fastapi import FastAPI
    from starlette.routing import Route

    app = FastAPI(routes=[Route("/v1/chat/completions", _Endpoint(), methods=["POST"])])
    if folder is not None:
        from promethios_serving.promethios_governance_inference_wrapper import InferenceWrapper

        settings = {
            "ACCESS_FILE": folder / "access.yaml",
            "DEFAULT_DOMAIN": "healthcare",
            "DRAIN_FILE": folder / "drain",
        }
        os.environ |= {f"PROMETHIOS_{name}": str(value) for name, value in settings.items()}
        InferenceWrapper().attach_router(app)
    return app


class _Endpoint:
    """`route`, as an object: Starlette takes a plain function for one of another kind."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await route(scope, receive, send)


def added_latency() -> dict[str, Any]:
    """Return milliseconds of both servers, and what the wrapper adds, at the median and the 99th percentile."""
    with tempfile.TemporaryDirectory() as name:
        policy = {"requests_per_minute": 10_000_000, "tokens_per_minute": 10_000_000}
        key = {"id": "app", "sha256": hashlib.sha256(KEY.encode()).hexdigest(), "tenant": "acme", "scopes": ["infer"]}
        access = {"tenants": {"acme": policy}, "keys": [key]}
        (Path(name) / "access.yaml").write_text(json.dumps(access), encoding="utf-8")
        with _server("plain", name) as plain, _server("wrapped", name) as governed:
            connections = {"plain": plain, "wrapped": governed}
            for connection in connections.values():
                _times(connection, WARM_UP)
            times: dict[str, list[float]] = {name: [] for name in connections}
            for _round in range(ROUNDS):
                for which, connection in connections.items():
                    times[which] += _times(connection, BLOCK)
    points = {
        which: {"p50": statistics.median(values), "p99": statistics.quantiles(values, n=100)[98]}
        for which, values in times.items()
    }
    points["added"] = {name: points["wrapped"][name] - points["plain"][name] for name in ("p50", "p99")}
    return {which: {name: round(value, 3) for name, value in both.items()} for which, both in points.items()}


def _times(connection: http.client.HTTPConnection, count: int) -> list[float]:
    times = []
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
    for _ in range(count):
        started = time.perf_counter()
        connection.request("POST", "/v1/chat/completions", BODY, headers)
        reply = connection.getresponse()
        reply.read()
        times.append((time.perf_counter() - started) * 1e3)
        assert reply.status == 200, reply.status
    return times


@contextmanager
def _server(which: str, folder: str) -> Iterator[http.client.HTTPConnection]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, __file__, which, folder, str(port)])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        for _ in range(600):
            try:
                connection.connect()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection
    finally:
        connection.close()
        process.terminate()
        process.wait(timeout=30)


def _serve(which: str, folder: Path, port: int) -> None:
    import uvicorn

    app = application(folder if which == "wrapped" else None)
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="warning")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        _serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        print(json.dumps(added_latency(), indent=2))
