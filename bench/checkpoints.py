"""Measure checkpoints: what a save costs training, on a volume and with S3, resuming, and 50 kills of a training.

`python bench/run.py checkpoints` records `measure`. The S3 server is versitygw, which `make e2e` builds.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests are not installed

from tests.tiny_model import TINY_MODEL

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
SAVES = 6
"""Of each kind."""
KILLS = 50
RUNS = 2
"""Side by side, which share the kills."""
NANO = {"training.batch_size": 1, "training.gradient_accumulation_steps": 1, "training.save_total_limit": 2}
TINY = (
    NANO
    | TINY_MODEL
    | {
        "training.max_steps": 1_000_000,
        "training.save_steps": 5,
        "training.logging_steps": 1,
    }
)
KINDS = {"volume": (False, False), "volume_and_s3": (True, False), "synchronous_volume": (False, True)}
KINDS |= {"synchronous_volume_and_s3": (True, True)}
PRELOADED = ["deepspeed", "promethios.train_governance_model", "promethios.training.trainer", "tensorboard"]

Process = multiprocessing.process.BaseProcess


def measure(work: Path) -> dict[str, Any]:
    """Run all of it; `work` gets data and runs."""
    os.environ["OMP_NUM_THREADS"] = "1"
    data = work / "checkpoints-data"
    if not data.exists():
        command = [sys.executable, "-m", "promethios.cli", "generate", "--output_dir", str(data)]
        subprocess.run([*command, "--num_examples", "300"], check=True, capture_output=True)
    # Every attempt is a process of its own, forked from one that has the libraries loaded.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with s3_server(work / "s3") as url:
        saves = measured_saves(context, work / "saves", data, url)
        resume = measured_resume(context, work / "saves", data, url)
    return {"saves": saves, "resume": resume, "kills": measured_kills(context, work / "kills", data)}


def measured_saves(context: Any, output: Path, data: Path, url: str) -> dict[str, Any]:
    """Seconds of each kind of save of the nano preset, the kinds taking turns in one training."""
    shutil.rmtree(output, ignore_errors=True)
    report = output.with_suffix(".jsonl")
    report.unlink(missing_ok=True)
    steps = 2 * SAVES * len(KINDS)
    settings = NANO | {"training.max_steps": steps, "training.save_steps": 2, "training.logging_steps": 1}
    options = ["--checkpoint_store", url, "--checkpoint_staging", str(output.with_name("scratch"))]
    process = context.Process(target=train, args=(command(data, output, settings, *options), report, True))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"the training ended with {process.exitcode}")
    seconds: dict[str, dict[str, list[float]]] = {kind: {} for kind in KINDS}
    size = 0
    for line in report.read_text().splitlines()[len(KINDS) :]:  # the first of each kind warms up
        save = json.loads(line)
        size = save.pop("bytes")
        for name in ("blocking_seconds", "background_seconds"):
            seconds[save["kind"]].setdefault(name, []).append(save[name])
    medians = {
        kind: {name: statistics.median(values) for name, values in found.items()} for kind, found in seconds.items()
    }
    for kind in ("volume", "volume_and_s3"):
        medians[kind]["share_of_synchronous"] = (
            medians[kind]["blocking_seconds"] / medians[f"synchronous_{kind}"]["blocking_seconds"]
        )
    return {"checkpoint_bytes": size, "saves_of_each_kind": SAVES - 1, **medians}


def measured_resume(context: Any, output: Path, data: Path, url: str) -> dict[str, float]:
    """Seconds from the start of a process that has its libraries to its first step: anew, resumed, resumed from S3."""
    from promethios.checkpoint.object_store import ObjectStore
    from promethios.checkpoint.resume import newest_verified

    seconds = {}
    started = time.perf_counter()
    newest_verified(output, print)
    seconds["verify"] = time.perf_counter() - started
    started = time.perf_counter()
    newest_verified(output.with_name("downloaded"), print, ObjectStore(url))
    seconds["download"] = time.perf_counter() - started
    settings = NANO | {"training.max_steps": 10_000, "training.save_steps": 5_000, "training.logging_steps": 1}
    for name, keep, options in (
        ("first_step_anew", False, ["--resume_from_checkpoint", "latest"]),
        ("first_step_resumed_from_volume", True, []),
        ("first_step_resumed_from_s3", False, ["--checkpoint_store", url]),
    ):
        folder = output.with_name("resumed")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if keep:
            newest = max(output.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
            shutil.copytree(newest, folder / newest.name)
        started = time.perf_counter()
        process = context.Process(target=train, args=(command(data, folder, settings, *options), None, False))
        process.start()
        wait_for(lambda folder=folder: bool(last_step(folder)), process)
        seconds[name] = time.perf_counter() - started
        process.kill()
        process.join()
    return {f"{name}_seconds": value for name, value in seconds.items()}


def measured_kills(context: Any, work: Path, data: Path) -> dict[str, Any]:
    """Kill a training at random moments; what is lost: steps since the last checkpoint, and complete checkpoints."""
    shutil.rmtree(work, ignore_errors=True)
    with ThreadPoolExecutor(RUNS) as threads:
        runs = threads.map(lambda run: killed_run(context, work / f"run-{run}", data, seed=run), range(RUNS))
        kills = [kill for run in runs for kill in run]
    lost = [kill["lost_steps"] for kill in kills]
    return {
        "kills": len(kills),
        "in_a_save": sum(kill["in_a_save"] for kill in kills),
        "save_every_steps": TINY["training.save_steps"],
        "lost_steps": {"median": statistics.median(lost), "max": max(lost)},
        "lost_complete_checkpoints": sum(kill["lost_checkpoints"] for kill in kills),
        "bad_checkpoints": sum(kill["bad_checkpoints"] for kill in kills),
    }


def killed_run(context: Any, output: Path, data: Path, *, seed: int) -> list[dict[str, int]]:
    """Start a training, kill it, start it again ...; returns what each kill cost. Every second one comes in a save."""
    from promethios.checkpoint.resume import newest_verified

    moments, kills, report = random.Random(seed), [], output.with_suffix(".jsonl")
    resumed = 0
    for number in range(KILLS // RUNS):
        process = context.Process(target=train, args=(command(data, output, TINY), report, False))
        process.start()
        wait_for(lambda before=resumed: last_step(output) > before, process)
        time.sleep(moments.uniform(0, 2))
        if number % 2:
            wait_for(lambda: any((output / ".staging").glob("checkpoint-*")), process)
            time.sleep(moments.uniform(0, 0.1))
        process.kill()
        process.join()
        reached = last_step(output)
        complete = [json.loads(line)["step"] for line in report.read_text().splitlines()] if report.exists() else []
        in_a_save = any((output / ".staging").glob("checkpoint-*"))
        bad: list[str] = []
        newest = newest_verified(output, bad.append)
        resumed = int(newest.name.partition("-")[2]) if newest else 0
        kills.append(
            {
                "lost_steps": reached - resumed,
                "lost_checkpoints": sum(step > resumed for step in complete),
                "bad_checkpoints": len(bad),
                "in_a_save": in_a_save,
            }
        )
        cut_log(output, resumed)
    return kills


def train(arguments: list[str], report: Path | None, in_turns: bool) -> None:
    """Train in this process; every complete save becomes a line of `report`. in_turns: save by KINDS, one after one."""
    from promethios.train_governance_model import main
    from promethios.training.metrics import TrainingMetrics
    from promethios.training.trainer import GovernanceTrainer

    kind = ""

    def on_saved(
        self: TrainingMetrics, step: int, blocking_seconds: float, background_seconds: float, num_bytes: int
    ) -> None:
        if report is None:
            return
        line = {"step": step, "kind": kind, "blocking_seconds": blocking_seconds, "bytes": num_bytes}
        with report.open("a") as stream:
            stream.write(json.dumps(line | {"background_seconds": background_seconds}) + "\n")

    TrainingMetrics.on_saved = on_saved  # type: ignore[method-assign]
    if in_turns:
        save_one = GovernanceTrainer._save_checkpoint

        def save(self: GovernanceTrainer, model: Any, trial: Any) -> None:
            nonlocal kind
            self.saver.wait()  # so that no kind pays for the one before
            kind = list(KINDS)[(self.state.global_step // 2 - 1) % len(KINDS)]
            stored, synchronous = KINDS[kind]
            store, self.saver.store = self.saver.store, self.saver.store if stored else None
            started = time.perf_counter()
            save_one(self, model, trial)
            if synchronous:
                self.saver.wait()
                rewrite_blocking(time.perf_counter() - started)
            self.saver.wait()
            self.saver.store = store

        def rewrite_blocking(seconds: float) -> None:
            assert report is not None
            lines = report.read_text().splitlines()
            lines[-1] = json.dumps(json.loads(lines[-1]) | {"blocking_seconds": seconds})
            report.write_text("\n".join(lines) + "\n")

        GovernanceTrainer._save_checkpoint = save  # type: ignore[method-assign]
    if report is None or not in_turns:  # of those that are killed
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            os.dup2(nowhere.fileno(), 1)
    sys.exit(main(arguments))


def command(data: Path, output: Path, settings: dict[str, Any], *options: str) -> list[str]:
    """Options of `promethios train`."""
    overrides = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    return ["--config", "nano", "--data_dir", str(data), "--output_dir", str(output), *overrides, *options]


def last_step(output: Path) -> int:
    """The last step in a run's log; 0 before the first."""
    path = output / "logs" / "metrics.jsonl"
    lines = [line for line in path.read_text().splitlines() if line.endswith("}")] if path.exists() else []
    return int(json.loads(lines[-1])["step"]) if lines else 0


def cut_log(output: Path, step: int) -> None:
    """Forget the steps that are done again, so that the last line is of the attempt under way."""
    path = output / "logs" / "metrics.jsonl"
    entries = [line for line in path.read_text().splitlines() if line.endswith("}")]
    path.write_text("".join(line + "\n" for line in entries if json.loads(line)["step"] <= step))


def wait_for(condition: Callable[[], bool], process: Process, seconds: float = 120) -> None:
    """Wait until the condition holds; the process must live so long."""
    deadline = time.monotonic() + seconds
    while not condition():
        if not process.is_alive() or time.monotonic() > deadline:
            raise SystemExit(f"the training made no step; it ended with {process.exitcode}")
        time.sleep(0.01)


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """Run an S3 server over a folder; yields the URL of a place for checkpoints, credentials are in the environment."""
    program = shutil.which("versitygw") or str(CACHE / "promethios-e2e" / "bin" / "versitygw")
    if not Path(program).exists():
        raise SystemExit(f"{program} is not there; make e2e builds it")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "bucket").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    os.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    os.environ |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    environment = {**os.environ, "ROOT_ACCESS_KEY": "key", "ROOT_SECRET_KEY": "secret"}
    words = [program, "--port", f"127.0.0.1:{port}", "posix", str(folder)]
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield "s3://bucket/run"
    finally:
        process.kill()
        process.wait()
