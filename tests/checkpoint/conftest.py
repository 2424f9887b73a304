"""Checkpoints of a run without a model: what is saved is only files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from promethios.checkpoint.manifest import write_manifest
from promethios.checkpoint.saver import CheckpointSaver

FACTS = {"world_size": 1}


class Listener:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.saved: list[int] = []
        self.bytes: list[int] = []
        self.failed: list[str] = []

    def on_saved(self, step: int, blocking_seconds: float, background_seconds: float, num_bytes: int) -> None:
        assert background_seconds >= 0 and blocking_seconds == 0.5
        self.saved.append(step)
        self.bytes.append(num_bytes)

    def on_failed(self, place: str, error: Exception) -> None:
        self.failed.append(place)


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def save() -> Callable[[CheckpointSaver, int], None]:
    """Do what training does: stage files of a step, then let the saver complete them."""

    def save(saver: CheckpointSaver, step: int) -> None:
        folder = saver.stage(step)
        (folder / "states").mkdir(parents=True)
        (folder / "model.bin").write_bytes(b"m" * step)
        (folder / "states" / "rank_0.pt").write_bytes(step.to_bytes(4, "big") * 1000)
        saver.complete(step, FACTS, blocking_seconds=0.5)

    return save


@pytest.fixture
def write_checkpoint() -> Callable[[Path, int], Path]:
    def write(output_dir: Path, step: int) -> Path:
        folder = output_dir / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "model.bin").write_bytes(b"m" * step)
        write_manifest(folder, {"step": step, **FACTS})
        return folder

    return write
