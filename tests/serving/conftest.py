"""A bare ASGI client, fakes for the wrapper's parts, and one real vLLM server for the integration tests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from promethios.evaluation.calibration import Calibration, calibration_sha256
from promethios.evaluation.certificate import Certificate, DomainCertificate
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.header import SCORE_NAMES, ReservedIds
from promethios_serving.governor import Governor
from promethios_serving.telemetry.source import NoTelemetry
from tests.serving.signed_tokens import GATEWAY_KEY, write_keys

START_LIMIT_S = 300.0
DOMAIN_PROBE_LEVEL = 0.3
TELEMETRY_KEY = "let-me-speak-for-the-telemetry"


def sampling(**changes: Any) -> SimpleNamespace:
    """What the engine hook reads of vLLM's SamplingParams, as a client that asks for nothing special has them."""
    ids = dict.fromkeys(("logit_bias", "allowed_token_ids", "logprob_token_ids", "prompt_logprob_token_ids"))
    numbers = {"logprobs": None, "prompt_logprobs": None, "repetition_penalty": 1.0, "top_k": 0, "max_tokens": 16}
    return SimpleNamespace(**{**ids, **numbers, **changes})


@dataclass
class Reply:
    """What an ASGI application sent."""

    status: int
    headers: dict[str, str]
    body: bytes
    pieces: list[bytes]

    def json(self) -> Any:
        return json.loads(self.body)


async def _call(app: Any, path: str, body: Sequence[bytes], method: str, headers: dict[str, str], state: Any) -> Reply:
    incoming = [{"type": "http.request", "body": piece, "more_body": True} for piece in body]
    incoming.append({"type": "http.request", "body": b"", "more_body": False})
    sent: list[Any] = []

    async def receive() -> Any:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "app": SimpleNamespace(state=state),
    }
    await app(scope, receive, send)
    pieces = [message["body"] for message in sent[1:]]
    received = {name.decode(): value.decode() for name, value in sent[0]["headers"]} if sent else {}
    return Reply(sent[0]["status"] if sent else 0, received, b"".join(pieces), pieces)


@pytest.fixture
def call() -> Callable[..., Reply]:
    """Call an ASGI application once: `call(app, "/path", b"body" or [pieces] or {...}, headers={...})`."""

    def client(
        app: Any,
        path: str = "/v1/completions",
        body: Any = b"",
        *,
        method: str = "POST",
        headers: dict[str, str] | None = None,
        state: Any = None,
    ) -> Reply:
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        pieces = [body] if isinstance(body, bytes) else body
        return asyncio.run(_call(app, path, pieces, method, headers or {}, state))

    return client


@pytest.fixture
def reserved() -> ReservedIds:
    return ReservedIds(7)


@pytest.fixture
def calibration() -> Calibration:
    """A calibration that leaves the model's own probabilities as they are."""
    return Calibration(
        weights_sha256="a" * 64,
        dataset_sha256="b" * 64,
        num_examples=1,
        slope=1.0,
        intercept=0.0,
        thresholds={"healthcare": 0.2},
        default_threshold=0.4,
    )


@pytest.fixture
def certificate() -> Certificate:
    """A certificate that is stricter than the cost in legal, and looser everywhere else."""
    return certificate_of("a" * 64, "c" * 64, legal=0.1, healthcare=0.9)


def certificate_of(weights: str, calibration: str, **thresholds: float) -> Certificate:
    """A certificate with these thresholds, and 0.9 by default."""
    domains = {
        name: DomainCertificate(
            risk_limit=0.05,
            threshold=threshold,
            num_examples=1000,
            num_answered=500,
            num_missed=20,
            risk_upper_bound=0.03,
            auto_answered_share=0.5,
            crc_threshold=0.9,
        )
        for name, threshold in thresholds.items()
    }
    return Certificate(
        weights_sha256=weights,
        calibration_sha256=calibration,
        dataset_sha256="b" * 64,
        confidence=0.95,
        domains=domains,
        default_threshold=0.9,
    )


@pytest.fixture
def governor(calibration: Calibration, certificate: Certificate, reserved: ReservedIds) -> Governor:
    return Governor(calibration, certificate, NoTelemetry(), reserved)


@dataclass
class FakeEngine:
    """An engine client's `generate`: records calls, answers the gate with scores and the speech with texts.

    principles: what their columns say; a share, or UNREACHABLE + 100.
    domains: what the probe gives, by name; the domains that are not there share nothing.
    """

    reserved: ReservedIds
    scores: Sequence[float] = (3.0, 0.0, 0.0, 0.0, *[0.5] * 14)
    texts: Sequence[str] = ("Hello",)
    failure: Exception | None = None
    principles: Sequence[float] = ()
    domains: Mapping[str, float] = field(default_factory=dict)
    calls: list[SimpleNamespace] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    async def generate(self, prompt: Any, sampling_params: Any, request_id: str, **kwargs: Any) -> Any:
        self.calls.append(SimpleNamespace(prompt=prompt, sampling=sampling_params, id=request_id, kwargs=kwargs))
        try:
            if sampling_params == "PROBE":
                yield self._output(prompt, "", logprobs=[self._domain_columns()], cached=3)
                return
            if [call.sampling for call in self.calls if call.sampling != "PROBE"] == [sampling_params]:
                if self.failure:
                    raise self.failure
                await asyncio.sleep(0)
                yield self._output(prompt, "", logprobs=[self._columns()], cached=4)
                return
            for index, text in enumerate(self.texts):
                last = index == len(self.texts) - 1
                yield self._output(prompt, text, finish_reason="stop" if last else None, cached=99)
        finally:
            self.closed.append(request_id)

    def _columns(self) -> dict[int, SimpleNamespace]:
        logits = [0.0, *self.scores, *self.principles]
        columns = (*self.reserved.score_ids, *self.reserved.value_ids[: len(self.principles)])
        return {i: SimpleNamespace(logprob=x - 100.5) for i, x in zip(columns, logits, strict=True)}

    def _domain_columns(self) -> dict[int, SimpleNamespace]:
        stated = {name: self.domains.get(name, -1e3) for name in load_ontology().domains}
        columns = self.reserved.domain_ids
        return {
            columns[load_ontology().domain(name).slot]: SimpleNamespace(logprob=x - 100.5) for name, x in stated.items()
        }

    @staticmethod
    def _output(prompt: Any, text: str, *, logprobs: Any = None, finish_reason: Any = None, cached: int) -> Any:
        ids = prompt["prompt_token_ids"]
        completion = SimpleNamespace(
            index=0, text=text, token_ids=(1, 2), logprobs=logprobs, finish_reason=finish_reason
        )
        return SimpleNamespace(
            prompt_token_ids=ids,
            prompt_logprobs=[None, *({i: 0.0} for i in ids[1:])],
            num_cached_tokens=cached,
            outputs=[completion],
        )


@pytest.fixture
def engine(reserved: ReservedIds) -> FakeEngine:
    assert len(SCORE_NAMES) == 18
    return FakeEngine(reserved)


@pytest.fixture(scope="session")
def nano_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random, whole and calibrated model folder of a small Promethios."""
    import torch

    from promethios.model.configuration import PromethiosConfig
    from promethios.model.folder import weights_sha256
    from promethios.model.governance_sentinel_8b import PromethiosForCausalLM
    from promethios.model.principles import principles_by_framework
    from promethios.model.tokenizer import reserved_ids, train_tokenizer

    folder = tmp_path_factory.mktemp("nano")
    tokenizer = train_tokenizer(["What dose is safe? Ask a clinician before you take more."] * 20, 512)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = PromethiosConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        qk_norm=True,
        tie_word_embeddings=True,
        anchor_size=32,
        anchor_heads=2,
        num_principles=4,
        veritas_rank=8,
        tool_rank=8,
        first_reserved_id=reserved_ids(tokenizer).first,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        architectures=["PromethiosForCausalLM"],
        domain_probe=True,
        principles={name: ids[:3] for name, ids in principles_by_framework(load_ontology()).items()},
    )
    model = PromethiosForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gate"):
                parameter.fill_(1.0)
            elif parameter.dim() == 2:
                parameter.normal_(0, 0.1)
            elif "heads.bias" in name or "probe.bias" in name:
                parameter.normal_(0, 0.5)
    model.save_pretrained(folder)
    Calibration(
        weights_sha256=weights_sha256(folder),
        dataset_sha256="0" * 64,
        num_examples=1,
        slope=1.0,
        intercept=0.0,
        default_threshold=0.4,
        domain_probe_level=DOMAIN_PROBE_LEVEL,
    ).save(folder)
    certificate_of(weights_sha256(folder), calibration_sha256(folder)).save(folder)
    return folder


@dataclass(frozen=True)
class Server:
    """A running server: its address, the model folder it serves, the telemetry file that it reads and its log."""

    url: str
    folder: Path
    telemetry_file: Path
    log: Path


@pytest.fixture(scope="session")
def server(nano_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real vLLM server on the CPU, started with `promethios serve`."""
    with running_server(nano_folder, tmp_path_factory.mktemp("server")) as server:
        yield server


@contextmanager
def running_server(model: Path, folder: Path, **settings: str) -> Iterator[Server]:
    """Run a real server in `folder`, with these variables more; yields it when it listens."""
    telemetry, log = folder / "telemetry.yaml", folder / "log.txt"
    telemetry.write_text("trust: 0.9\nverify: 0.9\nattest: 0.9\nbound: 0.9\n", encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "promethios.serve", "--model_path", str(model), "--port", str(port)]
    command += ["--telemetry_file", str(telemetry), "--", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    keys = write_keys(folder / "keys.json", [GATEWAY_KEY])
    own = {
        "PROMETHIOS_EXPOSE": "scores",
        "PROMETHIOS_TELEMETRY_JWT_KEYS": str(keys),
        "PROMETHIOS_TELEMETRY_KEY": TELEMETRY_KEY,
        "PROMETHIOS_MAX_BODY_BYTES": "65536",
        "PROMETHIOS_DRAIN_FILE": str(folder / "drain"),
        "PROMETHIOS_TELEMETRY_INTERVAL_S": "0.2",
    }
    # Importing trl, as another test of this process may have done, sets the level of vLLM's log.
    inherited = {name: value for name, value in os.environ.items() if name != "VLLM_LOGGING_LEVEL"}
    environment = {**inherited, "OMP_NUM_THREADS": "1", **own, **settings}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        _wait_for(f"http://127.0.0.1:{port}/ready", process, log)
        yield Server(f"http://127.0.0.1:{port}", model, telemetry, log)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.5)
    raise AssertionError(f"the server did not start (exit code {process.poll()}):\n{log.read_text()[-6000:]}")
