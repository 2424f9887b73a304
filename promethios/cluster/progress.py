"""What a training says of itself in its log: the lines of promethios/training/progress.py, the last words of a pod."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_STEP: Final = re.compile(
    r"step (?P<step>\d+)/(?P<steps>\d+)  loss (?P<loss>\S+).*?(?P<rate>[\d,]+) tokens/s  ETA (?P<eta>\d+) s"
)
_ATTEMPT: Final = re.compile(r"attempt (\d+)\b")
_CHECKPOINT: Final = re.compile(r"\bcheckpoint-(\d+)\S* saved|\bresuming from \S*checkpoint-(\d+)")
_END: Final = re.compile(r"attempt (?P<attempt>\d+), step (?P<step>\d+), newest checkpoint (?P<checkpoint>\d+|none): ")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One progress line. eta_seconds: until the last step, by the mean speed of this attempt."""

    step: int
    steps: int
    loss: float
    tokens_per_second: float
    eta_seconds: int


@dataclass(frozen=True)
class LastWords:
    """What an attempt leaves in its pod's termination message. checkpoint_step: None where none was written."""

    attempt: int
    step: int
    checkpoint_step: int | None


def parse_progress(line: str) -> Progress | None:
    """Return what a line of the log says about progress; None for any other line."""
    found = _STEP.search(line)
    if found is None:
        return None
    return Progress(
        step=int(found["step"]),
        steps=int(found["steps"]),
        loss=float(found["loss"]),
        tokens_per_second=float(found["rate"].replace(",", "")),
        eta_seconds=int(found["eta"]),
    )


def parse_last_words(message: str) -> LastWords | None:
    """Return what a termination message says; None for one that is not an attempt's."""
    found = _END.match(message)
    if found is None:
        return None
    checkpoint = None if found["checkpoint"] == "none" else int(found["checkpoint"])
    return LastWords(attempt=int(found["attempt"]), step=int(found["step"]), checkpoint_step=checkpoint)


def parse_attempt(line: str) -> int | None:
    """Return the number of the attempt that a line of the log names; None for any other line."""
    found = _ATTEMPT.match(line)
    return None if found is None else int(found[1])


def parse_checkpoint(line: str) -> int | None:
    """Return the step of the checkpoint that a line says is complete; None for any other line."""
    found = _CHECKPOINT.search(line)
    return None if found is None else int(found[1] or found[2])
