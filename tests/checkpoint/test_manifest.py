from __future__ import annotations

from pathlib import Path

import pytest

from promethios.checkpoint.manifest import MANIFEST, verify, write_manifest
from promethios.errors import CheckpointError


def checkpoint(output_dir: Path, step: int) -> Path:
    folder = output_dir / f"checkpoint-{step}"
    (folder / "state").mkdir(parents=True)
    (folder / "state" / "shard.pt").write_bytes(b"x" * step)
    write_manifest(folder, {"step": step})
    return folder


def test_a_written_checkpoint_verifies_and_keeps_its_facts(tmp_path: Path) -> None:
    assert verify(checkpoint(tmp_path, 7))["step"] == 7


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "state" / "shard.pt").unlink(), "shard.pt is missing"),
        (lambda folder: (folder / "state" / "shard.pt").write_bytes(b"x"), "shard.pt is not what was saved"),
        (lambda folder: (folder / "state" / "shard.pt").write_bytes(b"y" * 7), "shard.pt is not what was saved"),
        (lambda folder: (folder / MANIFEST).unlink(), "not a complete checkpoint"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "is damaged"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: object, message: str) -> None:
    folder = checkpoint(tmp_path, 7)
    damage(folder)  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=message):
        verify(folder)


def test_a_manifest_that_points_out_of_its_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, 7)
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text().replace("state/shard.pt", "../../secret"))
    with pytest.raises(CheckpointError, match="is damaged"):
        verify(folder)
