"""The ledger of a run's attempts, beside its checkpoints: it bounds restarts, evictions included.

Kubernetes counts no restart of a pod that was evicted or deleted, so a run that always fails would be started for
ever. `attempts.jsonl` in the output folder holds records; those of one attempt are read as one:

    {"attempt": 3, "pod": "gov-8b-master-0", "node": "gpu-7", "started": 1790000000.0}
    {"attempt": 3, "first_step": 100, "lost_steps": 4}
    {"attempt": 3, "ended": 1790000900.0, "exit_code": 138, "reason": "...", "last_step": 140, "checkpoint_step": 120}

An attempt without an end was killed; the next one writes what it reached. Times are Unix seconds. A step counts from
the beginning of the first stage.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from promethios.checkpoint.manifest import MANIFEST, checkpoints
from promethios.errors import CheckpointError

LEDGER: Final = "attempts.jsonl"
METRICS: Final = Path("logs", "metrics.jsonl")
FIRST_RETRIED_EXIT_CODE: Final = 128
"""Of a PyTorchJob with restartPolicy ExitCode: below it a code is final."""
MAX_FRUITLESS: Final = 5
MAX_DELAY_SECONDS: Final = 60.0
KILLED: Final = "killed: it recorded no end (evicted, out of memory, or its node was lost)"


class Progress(NamedTuple):
    """How far a run has come: the last step in its logs, and the newest complete checkpoint."""

    last_step: int = 0
    checkpoint_step: int = 0


class Resumption(NamedTuple):
    """What came before a stage goes on. started: of the first attempt. kept_seconds: in steps that were not lost."""

    attempt: int
    started: float
    lost_steps: int
    kept_seconds: float


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One start of a run. first_step: where it went on from. lost_steps: those it had to do again.

    exit_code, ended: None while it runs, and for one that was killed.
    """

    attempt: int
    pod: str = ""
    node: str = ""
    started: float = 0.0
    first_step: int | None = None
    lost_steps: int = 0
    ended: float | None = None
    exit_code: int | None = None
    reason: str | None = None
    last_step: int = 0
    checkpoint_step: int = 0

    @property
    def is_final(self) -> bool:
        """True when nothing but a person starts the run again."""
        return self.exit_code is not None and self.exit_code < FIRST_RETRIED_EXIT_CODE


def read_attempts(output_dir: Path) -> list[Attempt]:
    """Return the attempts of a run, oldest first; empty when there is no ledger.

    A line cut short by a kill is passed over. Raises CheckpointError for a ledger that holds anything else.
    """
    path = output_dir / LEDGER
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    known = {field.name for field in dataclasses.fields(Attempt)}
    merged: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if not isinstance(record, dict) or not isinstance(record.get("attempt"), int) or not record.keys() <= known:
            raise CheckpointError(f"{path}:{number}: {line[:80]!r} is no record of an attempt; move the file away")
        merged.setdefault(record["attempt"], {}).update(record)
    return [Attempt(**merged[number]) for number in sorted(merged)]


def begin_attempt(output_dir: Path, *, pod: str, node: str) -> Attempt:
    """Record that an attempt starts; one before it that recorded no end gets it now, with what it reached."""
    output_dir.mkdir(parents=True, exist_ok=True)
    attempts = read_attempts(output_dir)
    if attempts and attempts[-1].reason is None:
        add_record(output_dir, attempts[-1].attempt, reason=KILLED, **progress(output_dir)._asdict())
    attempt = Attempt(attempt=len(attempts) + 1, pod=pod, node=node, started=time.time())
    add_record(output_dir, attempt.attempt, pod=pod, node=node, started=attempt.started)
    return attempt


def end_attempt(output_dir: Path, attempt: Attempt, exit_code: int, reason: str) -> None:
    """Record how an attempt ended and how far the run has come."""
    add_record(
        output_dir,
        attempt.attempt,
        ended=time.time(),
        exit_code=exit_code,
        reason=reason,
        **progress(output_dir)._asdict(),
    )


def add_record(output_dir: Path, attempt: int, **values: Any) -> None:
    """Append values of an attempt, on a line of its own even after one that was cut short. Raises CheckpointError."""
    path = output_dir / LEDGER
    try:
        with path.open("a+b") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 1))
            torn = stream.read() not in (b"", b"\n")
            stream.write(b"\n" * torn + json.dumps({"attempt": attempt, **values}).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror or error}; free space") from error


def progress(output_dir: Path) -> Progress:
    """Return how far a run has come, summed over its stages (`output_dir` and the stage folders in it)."""
    folders = _stage_folders(output_dir)
    return Progress(sum(_last_step(_logged(folder)) for folder in folders), sum(map(_newest_checkpoint, folders)))


def record_resumption(output_dir: Path, stage_folder: Path, step: int) -> Resumption:
    """Record in the attempt under way, if there is a ledger, from where a stage goes on; return what was before.

    step: of the stage, 0 for its beginning. Called by one process, before the stage's first log line.
    """
    logged = {folder: _logged(folder) for folder in _stage_folders(output_dir)}
    lost = max(0, _last_step(logged[stage_folder]) - step)
    kept = sum(
        seconds
        for folder, entries in logged.items()
        for number, seconds in entries.items()  # a step that was repeated has its last entry
        if folder != stage_folder or number <= step
    )
    attempts = read_attempts(output_dir)
    if attempts and attempts[-1].reason is None:
        first_step = sum(map(_last_step, logged.values())) - _last_step(logged[stage_folder]) + step
        add_record(output_dir, attempts[-1].attempt, first_step=first_step, lost_steps=lost + attempts[-1].lost_steps)
    return Resumption(
        attempt=len(attempts) or 1,
        started=attempts[0].started if attempts else time.time(),
        lost_steps=lost + sum(attempt.lost_steps for attempt in attempts),
        kept_seconds=kept,
    )


def _stage_folders(output_dir: Path) -> list[Path]:
    return [output_dir, *output_dir.glob("stage-*")]


def _logged(folder: Path) -> dict[int, float]:
    """Return the seconds in steps of each entry of a stage's metrics.jsonl, by step, in the order of the file."""
    path = folder / METRICS
    entries: dict[int, float] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            entry = json.loads(line)
        except ValueError:  # cut short by a kill
            continue
        entries.pop(entry["step"], None)
        entries[entry["step"]] = entry.get("step_seconds", 0.0)
    return entries


def _last_step(logged: dict[int, float]) -> int:
    steps = list(logged)
    return steps[-1] if steps else 0


def _newest_checkpoint(folder: Path) -> int:
    complete = [path for path in checkpoints(folder) if (path / MANIFEST).is_file()]
    return int(complete[-1].name.rpartition("-")[2]) if complete else 0


def fruitless_attempts(attempts: Sequence[Attempt]) -> int:
    """Return how many of the last attempts in a row came no further than those before them.

    Further is a newer checkpoint or a later step. An attempt with a final exit code ends a row: who starts the run
    again after one has mended something.
    """
    best, fruitless = Progress(), 0
    for attempt in attempts:
        further = attempt.last_step > best.last_step or attempt.checkpoint_step > best.checkpoint_step
        best = Progress(max(best.last_step, attempt.last_step), max(best.checkpoint_step, attempt.checkpoint_step))
        fruitless = 0 if further or attempt.is_final else fruitless + 1
    return fruitless


def why_exhausted(attempts: Sequence[Attempt], max_attempts: int) -> str | None:
    """Return why a run must not be started again, or None. attempts: those that ended."""
    series = _since_final(attempts)
    if not series:
        return None
    last = f"the last one ended: {series[-1].reason}"
    if (fruitless := fruitless_attempts(attempts)) >= MAX_FRUITLESS:
        return f"{fruitless} attempts in a row made no progress beyond step {_furthest(attempts)}; {last}"
    if len(series) >= max_attempts:
        return f"{len(series)} attempts, evictions included, are all that PROMETHIOS_MAX_ATTEMPTS allows; {last}"
    return None


def delay_seconds(fruitless: int) -> float:
    """Return how long to wait before the next attempt: nothing after progress, then 2, 4, 8 ... 60 seconds."""
    return min(MAX_DELAY_SECONDS, 2.0**fruitless) if fruitless else 0.0


def _since_final(attempts: Sequence[Attempt]) -> Sequence[Attempt]:
    ends = [index for index, attempt in enumerate(attempts, 1) if attempt.is_final]
    return attempts[ends[-1] :] if ends else attempts


def _furthest(attempts: Iterable[Attempt]) -> int:
    return max((attempt.last_step for attempt in attempts), default=0)
