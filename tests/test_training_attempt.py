"""An attempt at a training: its exit code, its reason, its records; with real torchrun, DeepSpeed and signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from promethios.checkpoint.attempts import KILLED, LEDGER, read_attempts
from promethios.configs.run_config import load_run_config
from promethios.training_attempt import TERMINATION_BYTES, Outcome, evaluate, failure_outcome, main
from tests.tiny_model import TINY_MODEL

LOST_PEER = "RuntimeError: [gloo] Connection closed by peer"
NOW = 1_790_000_000
TINY = {
    **{key: str(value) for key, value in TINY_MODEL.items()},
    **{"training.max_steps": "500", "training.batch_size": "1"},
    **{"training.zero_stage": "1", "training.save_steps": "200", "training.logging_steps": "1"},
}


class Attempt:
    """A running `python -m promethios.training_attempt`."""

    def __init__(self, output_dir: Path, process: subprocess.Popen[str]) -> None:
        self.output_dir = output_dir
        self.process = process

    def logged_steps(self) -> list[int]:
        path = self.output_dir / "logs" / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line)["step"] for line in lines if line.endswith("}")]

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 300
        while not is_so():
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline, "it did not happen within five minutes"
            time.sleep(0.05)

    def ranks(self) -> list[psutil.Process]:
        """Return the rank processes of this attempt, rank 0 first."""
        children = psutil.Process(self.process.pid).children()
        ranks = [child for child in children if "promethios.train_governance_model" in child.cmdline()]
        return sorted(ranks, key=lambda rank: int(rank.environ()["RANK"]))

    def end(self) -> tuple[int, str]:
        """Wait for the end; returns exit code and output."""
        output = self.process.communicate(timeout=300)[0]
        return self.process.returncode, output


class Run:
    """A run of the tiny training: its folder, and how to start attempts at it."""

    def __init__(self, folder: Path, data_dir: Path) -> None:
        self.output_dir, self.data_dir = folder / "out", data_dir
        self.termination_log = folder / "termination-log"
        self.config = folder / "tiny.yaml"
        self.config.write_text(yaml.safe_dump(load_run_config("nano", TINY).to_mapping()))
        self.started: list[Attempt] = []

    def start(self, *train_options: str, ranks: int = 1, environment: dict[str, str] | None = None) -> Attempt:
        command = [sys.executable, "-m", "promethios.training_attempt", "--nproc_per_node", str(ranks)]
        command += ["--output_dir", str(self.output_dir), "--data_dir", str(self.data_dir)]
        command += ["--termination_log", str(self.termination_log), "--", "--config", str(self.config), *train_options]
        process = subprocess.Popen(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(Attempt(self.output_dir, process))
        return self.started[-1]

    def reason(self) -> str:
        return self.termination_log.read_text()


@pytest.fixture
def run(tmp_path: Path, small_dataset: Path) -> Run:
    started = Run(tmp_path, small_dataset)
    yield started
    for attempt in started.started:  # of a test that failed half-way
        if attempt.process.poll() is None:
            for process in (*psutil.Process(attempt.process.pid).children(recursive=True), attempt.process):
                process.kill()


def failed(rank: int, exit_code: int, message: str = "", *, after: int = 0, folder: Path) -> ProcessFailure:
    """Return a rank's failure as torchrun makes it; with a message when the rank left one."""
    error_file = folder / f"{rank}.json"
    if message:
        error_file.write_text(json.dumps({"message": {"message": message, "extraInfo": {"timestamp": NOW + after}}}))
    failure = ProcessFailure(local_rank=rank, pid=1, exitcode=exit_code, error_file=str(error_file))
    failure.timestamp = NOW + after
    return failure


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [
        ([(1, LOST_PEER, 0), (-9, "", 0)], Outcome(138, "rank 1 was killed by SIGKILL")),
        ([(2, f"CheckpointError: {LOST_PEER}", 0), (-9, "", 1)], Outcome(138, "rank 1 was killed by SIGKILL")),
        ([(-11, "", 0), (-15, "", 1)], Outcome(138, "rank 0 was killed by SIGSEGV")),
        ([(1, LOST_PEER, 0), (2, "TrainingError: loss nan", 1)], Outcome(2, "rank 1: TrainingError: loss nan")),
        ([(2, "ConfigError: no", 0), (-9, "", 30)], Outcome(2, "rank 0: ConfigError: no")),
        ([(2, "", 0)], Outcome(2, "rank 0 ended with exit code 2; its log says why")),
        ([(143, "", 0), (-15, "", 1)], Outcome(143, "stopped by SIGTERM")),
        ([(130, "", 0), (130, "", 0)], Outcome(130, "stopped by SIGINT")),
        ([(1, "KeyError: 'a'", 1), (1, LOST_PEER, 2)], Outcome(138, "rank 0: KeyError: 'a'")),
        ([(-15, "", 0)], Outcome(138, "rank 0 ended with exit code -15; its log says why")),
    ],
)  # fmt: skip
def test_what_ended_an_attempt_is_told_from_what_followed(
    ends: list[tuple[int, str, int]], outcome: Outcome, tmp_path: Path
) -> None:
    failures = {
        rank: failed(rank, exit_code, message, after=after, folder=tmp_path)
        for rank, (exit_code, message, after) in enumerate(ends)
    }
    assert failure_outcome(failures) == outcome


def test_a_run_that_made_no_progress_five_times_is_not_started_again(tmp_path: Path) -> None:
    records = [{"attempt": number, "exit_code": 138, "reason": "KeyError: 'a' " * 500} for number in range(1, 6)]
    (tmp_path / LEDGER).write_text("".join(json.dumps(record) + "\n" for record in records))
    arguments = ["--output_dir", str(tmp_path), "--data_dir", "none", "--termination_log", str(tmp_path / "why")]
    assert main(arguments) == 3
    reason = (tmp_path / "why").read_bytes()
    assert reason.startswith(b"attempt 6, step 0, newest checkpoint none: 5 attempts in a row made no progress")
    assert len(reason) == TERMINATION_BYTES
    assert read_attempts(tmp_path)[-1].exit_code == 3


def test_a_mistake_that_evaluation_finds_is_final_and_named(tmp_path: Path, small_dataset: Path) -> None:
    outcome = evaluate(tmp_path, small_dataset, ignore_gates=True)
    assert outcome.exit_code == 2
    assert outcome.reason.startswith(f"evaluation: model folder {tmp_path} lacks config.json")


@pytest.mark.integration
def test_a_users_mistake_fails_for_good_and_is_the_termination_message(run: Run) -> None:
    exit_code, output = run.start("--set", "training.bogus=1").end()
    assert exit_code == 2, output
    assert "rank 0: ConfigError: " in run.reason() and "bogus" in run.reason()
    assert read_attempts(run.output_dir)[0].exit_code == 2


@pytest.mark.integration
def test_a_stop_saves_though_data_loaders_run_and_a_killed_rank_is_retried_from_there(run: Run) -> None:
    attempt = run.start("--set", "training.dataloader_num_workers=1", ranks=2)
    attempt.wait_until(lambda: 3 in attempt.logged_steps())
    attempt.process.send_signal(signal.SIGTERM)
    exit_code, output = attempt.end()
    assert exit_code == 143, output
    saved = attempt.logged_steps()[-1]
    assert f"saved and stopped by signal 15 at step {saved}" in output
    assert run.reason() == f"attempt 1, step {saved}, newest checkpoint {saved}: stopped by SIGTERM"

    attempt = run.start(ranks=2)
    attempt.wait_until(lambda: attempt.logged_steps()[-1] >= saved + 2)
    attempt.ranks()[1].kill()
    exit_code, output = attempt.end()
    assert exit_code == 138, output
    assert run.reason().endswith("rank 1 was killed by SIGKILL")
    first, second = read_attempts(run.output_dir)
    assert (first.exit_code, first.first_step, first.checkpoint_step) == (143, 0, saved)
    assert (second.exit_code, second.first_step, second.checkpoint_step) == (138, saved, saved)
    assert second.last_step >= saved + 2


@pytest.mark.integration
def test_an_attempt_that_is_killed_outright_is_known_to_the_next(run: Run) -> None:
    attempt = run.start()
    attempt.wait_until(lambda: 2 in attempt.logged_steps())
    for victim in (*attempt.ranks(), attempt.process):
        victim.kill()
    assert attempt.end()[0] == -signal.SIGKILL
    exit_code, _ = run.start("--set", "training.bogus=1").end()
    assert exit_code == 2
    first, _second = read_attempts(run.output_dir)
    assert (first.reason, first.exit_code, first.checkpoint_step) == (KILLED, None, 0)
    assert first.last_step >= 2


@pytest.mark.integration
def test_the_waiting_between_fruitless_attempts_ends_at_a_signal(run: Run) -> None:
    run.output_dir.mkdir()
    records = [{"attempt": number, "exit_code": 138, "reason": "KeyError: 'a'"} for number in range(1, 5)]
    (run.output_dir / LEDGER).write_text("".join(json.dumps(record) + "\n" for record in records))
    attempt = run.start()
    assert attempt.process.stdout is not None
    assert attempt.process.stdout.readline() == "attempt 5 of at most 20\n"
    assert attempt.process.stdout.readline() == "waiting 16 s: the attempt before made no progress\n"
    attempt.process.send_signal(signal.SIGTERM)
    assert attempt.end()[0] == 143
    assert read_attempts(run.output_dir)[-1].reason == "stopped by SIGTERM"


@pytest.mark.integration
def test_a_node_that_is_lost_ends_the_other_with_a_retried_code(run: Run) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    # As the training operator sets them.
    shared = {"PET_NNODES": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    shared |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": port}
    nodes = [run.start(environment={**shared, "PET_NODE_RANK": rank, "RANK": rank}) for rank in ("0", "1")]
    nodes[0].wait_until(lambda: 2 in nodes[0].logged_steps())
    (rank,) = nodes[1].ranks()
    for victim in (rank, nodes[1].process):
        victim.kill()
    exit_code, output = nodes[0].end()
    assert exit_code == 138, output
    (attempt,) = read_attempts(run.output_dir)  # the first node counts, and only it
    assert attempt.exit_code == 138
