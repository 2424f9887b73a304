"""Run the whole loop on one machine: generate, train, evaluate, export, serve, ask.

    promethios demo --output_dir runs/demo

Every step is an ordinary command, printed before it runs; repeat any of them by hand. Interrupted, the same command
goes on where it stopped: the model is kept under a name that changes with its data and its configuration.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from promethios.cli import run_command
from promethios.configs.run_config import load_run_config
from promethios.data.folder import dataset_sha256
from promethios.errors import ServingError

QUESTION: Final = "May I ask when my mother should get the flu shot? I could not find the date of the last shot."
DOMAIN: Final = "healthcare"
STATES: Final[dict[str, dict[str, float | str]]] = {
    "all channels high": {
        **{"trust": 0.95, "verify": 0.93, "attest": 0.96, "bound": 0.94},
        **{"intensity": 0.2, "emotion": "FOCUSED", "decision": "PENDING", "model": "CONSENSUS"},
    },
    "all channels low": {
        **{"trust": 0.12, "verify": 0.18, "attest": 0.95, "bound": 0.15},
        **{"intensity": 0.2, "emotion": "FOCUSED", "decision": "PENDING", "model": "SINGLE"},
    },
    "no telemetry": {},
}
READY_SECONDS: Final = 600
GATE_FAILED: Final = 1
EXAMPLES: Final = 12_000
"""Enough to see the loop work, in minutes; `make train-full` takes many more."""
EXAMPLES_ON_SLOW: Final = 6_000
SLOW_CORES: Final = 2
"""So few cores, and no instructions for bf16: training goes at a third of the speed."""
EPOCHS: Final = 1
"""New examples teach more than old ones."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--output_dir", type=Path, default=Path("runs/demo"), help="folder (default: %(default)s)")
    parser.add_argument("--config", default="nano", help="training preset (default: %(default)s)")
    parser.add_argument("--port", type=int, help="port of the server (default: a free one)")


def run(args: argparse.Namespace) -> int:
    """Run the loop; returns 0 when every step ran, whether or not so short a training passes the gates of a release."""
    from promethios.training.precision import computes_in_bf16

    started = time.monotonic()
    data = args.output_dir / "data"
    is_slow = len(os.sched_getaffinity(0)) <= SLOW_CORES and not computes_in_bf16()
    num_examples = str(EXAMPLES_ON_SLOW if is_slow else EXAMPLES)
    _step("1/6 generate", ["promethios", "generate", "--output_dir", str(data), "--num_examples", num_examples])
    model = args.output_dir / f"model-{_fingerprint(data, args.config)}"
    train = ["promethios", "train", "--config", args.config, "--data_dir", str(data), "--output_dir", str(model)]
    train += ["--set", f"training.epochs={EPOCHS}"]
    _step("2/6 train", train)
    evaluate = ["promethios", "evaluate", "--model_path", str(model), "--data_dir", str(data)]
    gates = _step("3/6 evaluate", evaluate, allowed=(0, GATE_FAILED))
    export = args.output_dir / "export"
    _step("4/6 export", ["promethios", "export", "--model_path", str(model), "--output_path", str(export)])

    key = secrets.token_hex(8)
    port = args.port or _free_port()
    serve = ["promethios", "serve", "--model_path", str(export), "--port", str(port)]
    _announce("5/6 serve", serve)
    with _server(serve, port, key, args.output_dir / "serve.log"):
        _announce("6/6 ask", ["promethios", "ask", QUESTION, "--domain", DOMAIN, "--telemetry", "trust=0.95,..."])
        _print_table(port, key)
    ask = ["promethios", "ask", QUESTION, "--domain", DOMAIN, "--telemetry", "trust=0.3,verify=0.2"]
    sys.stdout.write(
        f"\nThe loop took {time.monotonic() - started:.0f} s. Report: {model / 'evaluation_report.html'}\n"
        f"Keep a server running:  PROMETHIOS_TELEMETRY_KEY=secret {_shown(serve[:4])}\n"
        f"Ask it:                 PROMETHIOS_TELEMETRY_KEY=secret {_shown(ask)}\n"
    )
    if gates == GATE_FAILED:
        sys.stdout.write("Not every gate of a release holds after so short a training; see above.\n")
    return 0


def _step(title: str, command: list[str], *, allowed: tuple[int, ...] = (0,)) -> int:
    _announce(title, command)
    started = time.monotonic()
    code = subprocess.run(_executable(command), check=False).returncode
    if code not in allowed:
        sys.stderr.write(f"demo stopped: {title} ended with exit code {code}; see above\n")
        raise SystemExit(code if code > 0 else 128 - code)
    sys.stderr.write(f"-- {title}: {time.monotonic() - started:.1f} s\n")
    return code


def _announce(title: str, command: list[str]) -> None:
    sys.stderr.write(f"\n== {title}: {_shown(command)}\n")
    sys.stderr.flush()


def _shown(command: Sequence[str]) -> str:
    """The command as a user can type it: `promethios` by path where it is not on PATH."""
    name = "promethios" if shutil.which("promethios") else os.path.relpath(Path(sys.executable).with_name("promethios"))
    return shlex.join([name if word == "promethios" else word for word in command])


def _executable(command: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "promethios.cli", *command[1:]]


def _fingerprint(data: Path, config: str) -> str:
    """Twelve digits that change with the data and with the configuration. Raises ConfigError for a bad one."""
    made_of = f"{dataset_sha256(data)} {load_run_config(config)}"
    return hashlib.sha256(made_of.encode()).hexdigest()[:12]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _server(command: Sequence[str], port: int, key: str, log: Path) -> Iterator[None]:
    """Run the server until it is healthy, and stop it afterwards. Raises ServingError when it ends or hangs."""
    environment = {**os.environ, "PROMETHIOS_TELEMETRY_KEY": key}
    with log.open("w") as stream:
        process = subprocess.Popen(
            _executable(command), env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        started = time.monotonic()
        _wait_until_healthy(process, f"http://127.0.0.1:{port}/health", log)
        sys.stderr.write(f"-- ready after {time.monotonic() - started:.1f} s, log in {log}\n")
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_healthy(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            raise ServingError(f"the server ended with exit code {process.returncode}; {log} ends with\n{tail}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise ServingError(f"the server did not answer at {url} within {READY_SECONDS} s; see {log}")


def _print_table(port: int, key: str) -> None:
    """Ask the question under each telemetry state and print decision, probability and first words."""
    from openai import OpenAI

    client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
    sys.stdout.write(f"\nQuestion ({DOMAIN}): {QUESTION}\n\n")
    sys.stdout.write(f"{'telemetry':<18} {'decision':<9} {'P(escalate)':>11}  answer\n")
    for name, telemetry in STATES.items():
        completion = client.chat.completions.create(
            model="promethios",
            messages=[{"role": "user", "content": QUESTION}],
            max_tokens=64,
            temperature=0,
            extra_body={"governance": {"domain": DOMAIN, "telemetry": telemetry}},
            extra_headers={"x-promethios-telemetry-key": key},
        )
        governance = (completion.model_extra or {})["governance"]
        words = " ".join((completion.choices[0].message.content or "").split()[:20])
        sys.stdout.write(f"{name:<18} {governance['decision']:<9} {governance['probability']:>11.2f}  {words} ...\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
