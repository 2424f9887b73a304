"""Bytes of checkpoints and of the volume that holds them, and how long a save takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from promethios.configs.run_config import TrainingSection
from promethios.planning.memory import optimizer_bytes, parameter_bytes

HEADROOM: Final = 1.10
"""File system, logs, and the partial file of a save that failed."""
GIB: Final = 2**30
EXIT_SECONDS: Final = 15
"""From the last byte to the end of the process: signals, barriers, NCCL."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """weights_bytes: a model folder. full_bytes: with optimizer states, what resuming needs."""

    weights_bytes: int
    full_bytes: int


def checkpoint(training: TrainingSection, *, saved: int, in_memory: int, trained: int) -> Checkpoint:
    """Return the size of a checkpoint: 14 bytes a parameter under ZeRO-3, 16 below it, in bf16 or fp16.

    saved: parameters of the model folder. Below stage 3 DeepSpeed writes the weights a second time.
    """
    half = parameter_bytes(training)
    states = optimizer_bytes(training) * trained + (half * in_memory if training.zero_stage < 3 else 0)
    return Checkpoint(weights_bytes=half * saved, full_bytes=half * saved + states)


def volume_bytes(training: TrainingSection, stages: list[Checkpoint], *, backbone: int) -> int:
    """Return the size of the volume, in whole GiB: of each stage the checkpoints it keeps and its result, one more
    that is being written,
    and the converted backbone (`backbone` parameters)."""
    kept = sum(stage.full_bytes * training.save_total_limit + stage.weights_bytes for stage in stages)
    staging = max(stage.full_bytes for stage in stages)
    return math.ceil((kept + staging + parameter_bytes(training) * backbone) * HEADROOM / GIB) * GIB


def needed_grace_seconds(step_seconds: float, save_seconds: float) -> int:
    """Return the grace period that SIGTERM needs.

    The step under way ends; a save that is being completed ends; the last one is written to the staging folder and from
    there to the volume; the ranks end.
    """
    return math.ceil(step_seconds + 3 * save_seconds + EXIT_SECONDS)
