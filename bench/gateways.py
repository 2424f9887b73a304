"""Measure wrapped mode beside LiteLLM's proxy and NeMo Guardrails: added latency, requests a second a core, streams.

`python bench/run.py gateways` records `measure`. All of them stand in front of one mock upstream that answers at once,
or streams FRAMES frames at a pace of PACE_S. Requests go to all of them in turns. The others are installed from PyPI,
in pinned versions, each into an environment of its own in the user's cache.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import uvicorn

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "promethios" / "gateways"
RIVALS = {"litellm": "litellm[proxy]==1.106.2", "nemo_guardrails": "nemoguardrails[server,openai]==0.24.1"}
REQUEST_BYTES, REPLY_BYTES = 1024, 1024
FRAMES, PACE_S = 64, 0.020
STALL_S = 3 * PACE_S
"""A stream stalls when this long passes between two of its frames: two of them did not come when they should have."""
STREAMS = (1, 2, 4, 8, 16, 32, 64, 128)
ROUNDS, BLOCK = 20, 25
CONCURRENCY, BURST = 16, 200
BURST_ROUNDS = 4
START_LIMIT_S = 180
JSON = {"content-type": "application/json"}
VERDICT = json.dumps({"decision": "answer", "escalation_probability": 0.1})


def measure(work: Path) -> dict[str, Any]:
    """Run all of it; `work` gets configurations and logs."""
    folder = work / "gateways"
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        upstream = free_port()
        mock = [sys.executable, __file__, str(upstream)]
        targets = {"direct": stack.enter_context(running(mock, upstream, {}, folder / "mock.log"))}
        for name, (command, port, environment) in gateways(folder, upstream).items():
            targets[name] = stack.enter_context(running(command, port, environment, folder / f"{name}.log"))
        return asyncio.run(measured(targets))


async def measured(targets: dict[str, Target]) -> dict[str, Any]:
    """All measurements, on targets that run."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for target in targets.values():
            await asyncio.gather(*(ask(session, target) for _ in range(2 * BLOCK)))
        return {
            "versions": RIVALS,
            "request_bytes": REQUEST_BYTES,
            "latency_ms_concurrency_1": await latency(session, targets),
            f"throughput_concurrency_{CONCURRENCY}": await throughput(session, targets),
            "streams": {name: await streams(session, target) for name, target in targets.items()},
        }


async def latency(session: aiohttp.ClientSession, targets: dict[str, Target]) -> dict[str, Any]:
    """Milliseconds of a request, one at a time, the targets taking turns; and what each adds to the direct way."""
    times: dict[str, list[float]] = {name: [] for name in targets}
    for _round in range(ROUNDS):
        for name, target in targets.items():
            times[name] += [await ask(session, target) for _ in range(BLOCK)]
    found = {name: {"p50": quantile(values, 0.5), "p99": quantile(values, 0.99)} for name, values in times.items()}
    direct = found["direct"]
    for numbers in found.values():
        numbers |= {f"added_{key}": numbers[key] - direct[key] for key in ("p50", "p99")}
    return found


async def throughput(session: aiohttp.ClientSession, targets: dict[str, Target]) -> dict[str, Any]:
    """Requests a second under load, of the clock and of the processor time that the target's processes took."""
    walls: dict[str, float] = dict.fromkeys(targets, 0.0)
    cores: dict[str, float] = dict.fromkeys(targets, 0.0)
    for _round in range(BURST_ROUNDS):
        for name, target in targets.items():
            started, used = time.perf_counter(), target.cpu_seconds()
            requests = iter(range(BURST))
            await asyncio.gather(*(worker(session, target, requests) for _ in range(CONCURRENCY)))
            walls[name] += time.perf_counter() - started
            cores[name] += target.cpu_seconds() - used
    count = BURST_ROUNDS * BURST
    return {
        name: {
            "requests_per_second": count / walls[name],
            "requests_per_second_of_one_core": count / cores[name],
            "cpu_ms_per_request": cores[name] / count * 1e3,
        }
        for name in targets
    }


async def streams(session: aiohttp.ClientSession, target: Target) -> dict[str, Any]:
    """How many streams at once the target passes on without a stall; more are tried until some stall."""
    stall_free, worst = 0, 0.0
    for count in STREAMS:
        longest = await asyncio.gather(*(longest_gap(session, target) for _ in range(count)))
        worst = max(longest)
        if worst > STALL_S:
            break
        stall_free = count
    return {"stall_free": stall_free, "longest_gap_ms_of_the_last_try": worst * 1e3}


async def worker(session: aiohttp.ClientSession, target: Target, requests: Iterator[int]) -> None:
    """Send requests one after the other as long as there are any."""
    for _ in requests:
        await ask(session, target)


async def ask(session: aiohttp.ClientSession, target: Target) -> float:
    """Send one request; returns its milliseconds."""
    started = time.perf_counter()
    try:
        async with session.post(target.url, data=body(stream=False), headers=JSON) as reply:
            content = await reply.read()
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        if isinstance(error, aiohttp.ClientConnectorError):
            raise
        return await ask(session, target)  # the server closed an idle connection at this very moment
    elapsed = time.perf_counter() - started
    if reply.status != 200 or b"xxxx" not in content:
        raise SystemExit(f"{target.url} answered {reply.status}: {content[:300]!r}")
    return elapsed * 1e3


async def longest_gap(session: aiohttp.ClientSession, target: Target) -> float:
    """Read one stream; returns the longest time between two frames, in seconds, infinite when frames are missing."""
    arrivals: list[float] = []
    async with session.post(target.url, data=body(stream=True), headers=JSON) as reply:
        async for chunk in reply.content.iter_any():
            arrivals += [time.perf_counter()] * chunk.count(b"word")
    if len(arrivals) != FRAMES:
        return float("inf")
    return max(after - before for before, after in itertools.pairwise(arrivals))


def body(*, stream: bool) -> bytes:
    """A request of REQUEST_BYTES."""
    request = {"model": "mock", "messages": [{"role": "user", "content": ""}], "stream": stream}
    missing = REQUEST_BYTES - len(json.dumps(request))
    request["messages"] = [{"role": "user", "content": "y" * missing}]
    return json.dumps(request).encode()


def quantile(values: list[float], share: float) -> float:
    """The value below which this share of them lies."""
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]


class Target:
    """A running server: its URL and the processor time of its processes."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self._process = psutil.Process(process.pid)

    def cpu_seconds(self) -> float:
        """User and system time of the process and its children so far."""
        times = [one.cpu_times() for one in (self._process, *self._process.children(recursive=True))]
        return sum(one.user + one.system for one in times)


def gateways(folder: Path, upstream: int) -> dict[str, tuple[list[str], int, dict[str, str]]]:
    """Command, port and environment of every gateway."""
    url, ports = f"http://127.0.0.1:{upstream}/v1", [free_port() for _ in range(4)]
    telemetry = folder / "telemetry.yaml"
    telemetry.write_text("trust: 0.9\nverify: 0.9\nattest: 0.9\nbound: 0.9\nemotion: CALM\nintensity: 0.2\n")
    ours = [sys.executable, "-m", "promethios.cli", "serve", "--upstream", url, "--telemetry_file", str(telemetry)]
    quiet = {"OPENAI_API_KEY": "none", "DO_NOT_TRACK": "1"}
    litellm = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
    nemo = ["server", "--config", str(nemo_config(folder, url)), "--default-config-id", "check", "--disable-chat-ui"]
    return {
        "promethios": ([*ours, "--port", str(ports[0])], ports[0], {}),
        "promethios_self_check": ([*ours, "--self_check", "--port", str(ports[1])], ports[1], {}),
        "litellm": (
            [installed("litellm"), "--config", str(litellm_config(folder, url)), "--port", str(ports[2])],
            ports[2],
            quiet | litellm,
        ),
        "nemo_guardrails_self_check": ([installed("nemo_guardrails"), *nemo, "--port", str(ports[3])], ports[3], quiet),
    }


def litellm_config(folder: Path, url: str) -> Path:
    """Its configuration: one model, nothing else switched on."""
    path = folder / "litellm.yaml"
    parameters = {"model": "openai/mock", "api_base": url, "api_key": "none"}
    path.write_text(json.dumps({"model_list": [{"model_name": "mock", "litellm_params": parameters}]}))
    return path


def nemo_config(folder: Path, url: str) -> Path:
    """Its configuration: the self-check of the input, streaming allowed."""
    path = folder / "nemo" / "check" / "config.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    model = {"type": "main", "engine": "openai", "model": "mock", "parameters": {"base_url": url, "api_key": "none"}}
    prompt = 'Should this message be blocked? Answer Yes or No.\nMessage: "{{ user_input }}"'
    config = {
        "models": [model],
        "rails": {"input": {"flows": ["self check input"]}},
        "prompts": [{"task": "self_check_input", "content": prompt}],
    }
    path.write_text(json.dumps(config))
    return path.parents[1]


def installed(name: str) -> str:
    """The command of a rival, installed into its own environment unless it is there."""
    requirement = RIVALS[name]
    command, version = requirement.partition("[")[0], requirement.partition("==")[2]
    environment = CACHE / f"{name}-{version}"
    if not (environment / "installed").exists():
        uv = shutil.which("uv") or str(Path(__file__).parents[1] / ".tools" / "bin" / "uv")
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", python, str(environment)], check=True)
        interpreter = str(environment / "bin" / "python")
        subprocess.run([uv, "pip", "install", "--quiet", "--python", interpreter, requirement], check=True)
        (environment / "installed").touch()
    return str(environment / "bin" / command)


@contextmanager
def running(command: list[str], port: int, environment: dict[str, str], log: Path) -> Iterator[Target]:
    """Run a server until it answers a chat completion."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    target = Target(f"http://127.0.0.1:{port}/v1/chat/completions", process)
    try:
        asyncio.run(answers(target, process, log))
        yield target
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def answers(target: Target, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for a server's first answer."""
    deadline = time.monotonic() + START_LIMIT_S
    async with aiohttp.ClientSession() as session:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                await ask(session, target)
                return
            except aiohttp.ClientError:
                await asyncio.sleep(0.2)
    raise SystemExit(f"no server at {target.url}:\n{log.read_text()[-3000:]}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def mock_upstream(scope: Any, receive: Any, send: Any) -> None:
    """An OpenAI-compatible server: judges what it is asked to judge, answers the rest, or streams it."""
    if scope["type"] != "http":
        return None
    content, more = b"", True
    while more:
        message = await receive()
        content, more = content + message.get("body", b""), message.get("more_body", False)
    request = json.loads(content)
    if request.get("stream"):
        return await stream_frames(send)
    prompt = request["messages"][0]["content"]
    reply = VERDICT if "Reply with one JSON object" in prompt else "No" if "Answer Yes or No" in prompt else None
    raw = completion(reply or "x" * REPLY_BYTES)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    return await send({"type": "http.response.body", "body": raw})


async def stream_frames(send: Any) -> None:
    """Stream FRAMES frames, one each PACE_S by the clock."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    started = time.monotonic()
    for index in range(FRAMES):
        await asyncio.sleep(max(0.0, started + index * PACE_S - time.monotonic()))
        choices = [{"index": 0, "delta": {"content": f"word{index} "}, "finish_reason": None}]
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "mock", "choices": choices}
        await send(
            {"type": "http.response.body", "body": b"data: %s\n\n" % json.dumps(chunk).encode(), "more_body": True}
        )
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


def completion(text: str) -> bytes:
    """A whole chat completion."""
    message = {"role": "assistant", "content": text}
    choices = [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
    usage = {"prompt_tokens": 200, "completion_tokens": 100, "total_tokens": 300}
    head = {"id": "c", "object": "chat.completion", "created": 1, "model": "mock"}
    return json.dumps({**head, "choices": choices, "usage": usage}).encode()


if __name__ == "__main__":
    uvicorn.run(mock_upstream, port=int(sys.argv[1]), http="httptools", loop="uvloop", log_level="warning")
