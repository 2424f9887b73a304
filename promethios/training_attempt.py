"""One attempt at a training, as a pod makes it: torchrun, then evaluation, counted in the run's ledger.

    python -m promethios.training_attempt --output_dir runs/nano --data_dir data/governance -- --config nano

What follows `--` goes to the training. Several nodes find each other by what the training operator or torchrun's own
PET_* variables say. The ledger (promethios/checkpoint/attempts.py) bounds how often a run is started again, and the
exit code says whether that would help: promethios/training/README.md lists them. The reason is also written where
Kubernetes looks for it, the termination log.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from promethios.checkpoint.attempts import (
    add_record,
    begin_attempt,
    delay_seconds,
    end_attempt,
    fruitless_attempts,
    progress,
    read_attempts,
    why_exhausted,
)
from promethios.cli import EXIT_USER_ERROR, run_command
from promethios.errors import PromethiosError

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

EXIT_GATES: Final = 1
EXIT_EXHAUSTED: Final = 3
EXIT_INFRASTRUCTURE: Final = 138
STOPPING_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
SAVED_AND_STOPPED: Final = {128 + number for number in STOPPING_SIGNALS}
MAX_ATTEMPTS: Final = 20
TERMINATION_LOG: Final = Path("/dev/termination-log")
TERMINATION_BYTES: Final = 4096
"""What Kubernetes keeps of a termination message."""
TORCHRUN_PATIENCE_SECONDS: Final = 30
"""How long torchrun lets the other ranks live after one has failed; it cannot be set."""
SAVE_PATIENCE_SECONDS: Final = 86_400
"""Until torchrun kills ranks that were told to stop: the pod's grace period shall end that, nothing before it."""
REPORT: Final = "evaluation_report.json"


class Outcome(NamedTuple):
    """How an attempt ended."""

    exit_code: int
    reason: str


class Stopped(BaseException):
    """A signal asked this process to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.outcome = Outcome(128 + number, f"stopped by {signal.Signals(number).name}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--output_dir", type=Path, required=True, help="as of promethios train; the ledger's folder")
    parser.add_argument("--data_dir", type=Path, required=True, help="as of promethios train")
    parser.add_argument(
        "--nproc_per_node", help="ranks on this node (default: PET_NPROC_PER_NODE, or one for each GPU, or 1)"
    )
    parser.add_argument(
        "--max_attempts", type=int, default=MAX_ATTEMPTS, help="of one run, evictions included (default: %(default)s)"
    )
    parser.add_argument(
        "--ignore_gates", action="store_true", help="end well although the model does not hold its gates"
    )
    parser.add_argument(
        "--termination_log", type=Path, help=f"file for the reason of the end (default: {TERMINATION_LOG}, if there)"
    )
    parser.add_argument("--node", default="", help="name of the machine, for the ledger")
    parser.add_argument("train_options", nargs="*", metavar="-- OPTION", help="options of promethios train")


def run(args: argparse.Namespace) -> int:
    """Make one attempt; returns the exit code that promethios/training/README.md explains."""
    try:
        if os.environ.get("PET_NODE_RANK", "0") == "0":
            outcome = _counted_attempt(args)
        else:  # the first node counts, and evaluates
            outcome = _stoppable(lambda: _train(args))
    except PromethiosError as error:
        _say_why(args.termination_log, str(error))
        raise
    _say_why(args.termination_log, outcome.reason)
    return outcome.exit_code


def _counted_attempt(args: argparse.Namespace) -> Outcome:
    """Make an attempt between two records of the ledger, unless the run has had enough of them."""
    attempt = begin_attempt(args.output_dir, pod=platform.node(), node=args.node)
    earlier = read_attempts(args.output_dir)[:-1]
    if reason := why_exhausted(earlier, args.max_attempts):
        outcome = Outcome(EXIT_EXHAUSTED, reason)
    else:
        sys.stderr.write(f"attempt {attempt.attempt} of at most {args.max_attempts}\n")
        outcome = _stoppable(lambda: _wait_train_evaluate(args, delay_seconds(fruitless_attempts(earlier))))
    end_attempt(args.output_dir, attempt, *outcome)
    reason = why_exhausted(read_attempts(args.output_dir), args.max_attempts)
    if reason and outcome.exit_code == EXIT_INFRASTRUCTURE:  # said now, rather than by one more pod
        outcome = Outcome(EXIT_EXHAUSTED, reason)
        add_record(args.output_dir, attempt.attempt, **outcome._asdict())
    reached = progress(args.output_dir)
    return outcome._replace(
        reason=f"attempt {attempt.attempt}, step {reached.last_step}, newest checkpoint "
        f"{reached.checkpoint_step or 'none'}: {outcome.reason}"
    )


def _stoppable(work: Callable[[], Outcome]) -> Outcome:
    """Do the work until a signal stops it; afterwards signals are ignored, so that the end can be recorded."""
    _stop_on_signals()
    try:
        return work()
    except Stopped as stopped:
        return stopped.outcome
    finally:
        for number in STOPPING_SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def _stop_on_signals() -> None:
    for number in STOPPING_SIGNALS:
        signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise Stopped(number)


def _wait_train_evaluate(args: argparse.Namespace, delay: float) -> Outcome:
    if delay:
        sys.stderr.write(f"waiting {delay:.0f} s: the attempt before made no progress\n")
        time.sleep(delay)
    outcome = _train(args)
    return evaluate(args.output_dir, args.data_dir, args.ignore_gates) if outcome.exit_code == 0 else outcome


def _train(args: argparse.Namespace) -> Outcome:
    """Run the training's ranks on this node under torchrun."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.run import parse_args
    from torch.distributed.run import run as torchrun

    error_files = Path(tempfile.mkdtemp(prefix="promethios-"))
    try:
        try:
            torchrun(parse_args(_torchrun_arguments(args, error_files)))  # type: ignore[no-untyped-call]
        finally:
            _stop_on_signals()  # torchrun leaves handlers of its own
    except SignalException as error:  # its ranks have ended by now
        stopped = Stopped(error.sigval).outcome
        return stopped._replace(reason="; ".join([stopped.reason, *_errors(error_files)]))
    except ChildFailedError as error:
        return failure_outcome(error.failures)
    except (RendezvousError, RuntimeError, OSError) as error:
        return Outcome(EXIT_INFRASTRUCTURE, f"the nodes did not find each other: {error}")
    finally:
        shutil.rmtree(error_files, ignore_errors=True)
    return Outcome(0, "trained")


def _errors(folder: Path) -> list[str]:
    """Return what failed in ranks that were to save and stop; torchrun tells only of the signal."""
    files = sorted(folder.rglob("error.json"))
    return [f"a rank failed: {json.loads(path.read_text(encoding='utf-8'))['message']['message']}" for path in files]


def _torchrun_arguments(args: argparse.Namespace, error_files: Path) -> list[str]:
    arguments = ["--shutdown-timeout", str(SAVE_PATIENCE_SECONDS), "--log-dir", str(error_files)]
    if os.environ.get("PET_NNODES", "1") in {"1", "1:1"}:
        arguments += ["--standalone", "--local-addr", "127.0.0.1"]  # needs no name of this machine resolved
    if args.nproc_per_node or "PET_NPROC_PER_NODE" not in os.environ:
        arguments += ["--nproc-per-node", args.nproc_per_node or str(_num_gpus() or 1)]
    return [
        *(*arguments, "-m", "promethios.train_governance_model"),
        *("--output_dir", str(args.output_dir), "--data_dir", str(args.data_dir), *args.train_options),
    ]


def _num_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def failure_outcome(failures: Mapping[int, ProcessFailure]) -> Outcome:
    """Return what the failures of this node's ranks mean; `failures` by rank, as torchrun saw them, first seen first.

    When one rank ends, the others follow: they lose their peer, or torchrun stops them. So what one rank can be blamed
    for counts before what may be a consequence: a kill from outside, then the user's mistake, then a save and stop.
    """
    began = min(failure.timestamp for failure in failures.values())
    for rank, failure in failures.items():
        by_torchrun = failure.timestamp - began >= TORCHRUN_PATIENCE_SECONDS
        if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM and not by_torchrun:
            return Outcome(EXIT_INFRASTRUCTURE, f"rank {rank} was killed by {failure.signal_name()}")
    for rank, failure in failures.items():
        if failure.exitcode == EXIT_USER_ERROR:
            return Outcome(EXIT_USER_ERROR, _message(rank, failure))
    for failure in failures.values():
        if failure.exitcode in SAVED_AND_STOPPED:
            return Stopped(failure.exitcode - 128).outcome
    rank = min(failures, key=lambda number: failures[number].timestamp)
    return Outcome(EXIT_INFRASTRUCTURE, _message(rank, failures[rank]))


def _message(rank: int, failure: ProcessFailure) -> str:
    """Return what a rank wrote about its end, or its exit code."""
    message: object = failure.message  # annotated as str, but a dict is what comes
    if isinstance(message, dict):
        return f"rank {rank}: {message['message']}"
    return f"rank {rank} ended with exit code {failure.exitcode}; its log says why"


def evaluate(output_dir: Path, data_dir: Path, ignore_gates: bool) -> Outcome:
    """Evaluate the trained model in a process of its own; what that says goes on to stderr."""
    # What the training operator says about ranks and masters would be taken for a process group to join.
    grouped = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    environment = {name: value for name, value in os.environ.items() if name not in grouped}
    report = output_dir / REPORT
    report.unlink(missing_ok=True)  # so that a report is of this evaluation
    command = [sys.executable, "-m", "promethios.governance_evaluation"]
    command += ["--model_path", str(output_dir), "--data_dir", str(data_dir)]
    said = ""
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        try:
            for line in process.stderr or ():
                sys.stderr.write(line)
                said = line.strip() or said
        except Stopped:
            process.terminate()
            raise
    if process.returncode == EXIT_USER_ERROR:
        return Outcome(EXIT_USER_ERROR, f"evaluation: {said.removeprefix('error: ')}")
    if process.returncode in {0, EXIT_GATES} and report.is_file():
        return _judged(json.loads(report.read_text(encoding="utf-8")), ignore_gates)
    return Outcome(EXIT_INFRASTRUCTURE, f"evaluation ended with exit code {process.returncode}: {said}")


def _judged(report: Mapping[str, Any], ignore_gates: bool) -> Outcome:
    missed = [gate["key"] for gate in report["gates"] if not gate["holds"]]
    if not missed:
        return Outcome(0, "trained and evaluated; every gate holds")
    said = f"trained and evaluated; gates that do not hold: {', '.join(missed)}"
    return Outcome(0 if ignore_gates else EXIT_GATES, said)


def _say_why(termination_log: Path | None, reason: str) -> None:
    """Tell the reason on stderr and in the termination log, which ends up in the pod's status."""
    sys.stderr.write(f"{reason}\n")
    path = termination_log or TERMINATION_LOG
    if termination_log or os.access(path, os.W_OK):
        path.write_bytes(reason.encode()[:TERMINATION_BYTES])


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
