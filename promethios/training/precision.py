"""The number format that a training really runs in: bf16 where the processor multiplies matrices in it, else fp32."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch

from promethios.checkpoint.manifest import read_manifest
from promethios.training.stages import StageRun


def computes_in_bf16() -> bool:
    """Return whether bf16 is fast here: on a GPU, and on a CPU with instructions for it.

    A CPU without them (AVX2 alone, as in most laptops) falls back to a plain loop, fifteen times slower than fp32.
    """
    if torch.cuda.is_available():
        return True
    has_mkldnn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return has_mkldnn and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def in_usable_format(run: StageRun, say: Callable[[str], None]) -> StageRun:
    """Return the stage without `training.bf16` where that would be slow, and say so."""
    if not run.training.bf16 or computes_in_bf16():
        return run
    say("training in fp32: this CPU has no instructions for bf16")
    return _with_bf16(run, False)


def in_format_of(run: StageRun, checkpoint: Path) -> StageRun:
    """Return the stage in the format that a checkpoint was written in, even where it is slow: DeepSpeed reads no other.

    A checkpoint that does not say it was written as configured.
    """
    return _with_bf16(run, bool(read_manifest(checkpoint).get("bf16", run.training.bf16)))


def _with_bf16(run: StageRun, bf16: bool) -> StageRun:
    return dataclasses.replace(run, training=dataclasses.replace(run.training, bf16=bf16))
