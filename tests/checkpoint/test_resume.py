from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from promethios.checkpoint.manifest import MANIFEST, verify
from promethios.checkpoint.object_store import ObjectStore
from promethios.checkpoint.resume import newest_verified
from promethios.errors import CheckpointError, StoreUnavailableError

Write = Callable[[Path, int], Path]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(f"file://{tmp_path}/store/run")


def test_no_checkpoint_is_no_error(tmp_path: Path, said: list[str], store: ObjectStore) -> None:
    assert newest_verified(tmp_path / "absent", said.append) is None
    assert newest_verified(tmp_path / "absent", said.append, store) is None
    assert not said


def test_the_newest_that_verifies_is_taken_and_a_bad_one_goes_to_quarantine_with_its_reason(
    tmp_path: Path, said: list[str], write_checkpoint: Write
) -> None:
    good = write_checkpoint(tmp_path, 9)
    (write_checkpoint(tmp_path, 100) / "model.bin").unlink()
    assert newest_verified(tmp_path, said.append) == good
    assert len(said) == 1 and "checkpoint-100" in said[0]
    assert not (tmp_path / "checkpoint-100").exists()
    assert "model.bin is missing" in (tmp_path / "quarantine" / "checkpoint-100" / "REASON.txt").read_text()
    assert newest_verified(tmp_path, said.append) == good and len(said) == 1


@pytest.mark.parametrize("name", ["model.bin", MANIFEST])
def test_damage_of_any_file_is_found(tmp_path: Path, said: list[str], write_checkpoint: Write, name: str) -> None:
    path = write_checkpoint(tmp_path, 9) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert newest_verified(tmp_path, said.append) is None
    assert said


def test_what_the_volume_lost_comes_from_the_store(
    tmp_path: Path, said: list[str], write_checkpoint: Write, store: ObjectStore
) -> None:
    store.upload(write_checkpoint(tmp_path / "old-volume", 12))
    found = newest_verified(tmp_path / "run", said.append, store)
    assert found == tmp_path / "run" / "checkpoint-12"
    assert verify(found)["step"] == 12


def test_a_damaged_one_on_the_volume_is_replaced_by_its_twin_in_the_store(
    tmp_path: Path, said: list[str], write_checkpoint: Write, store: ObjectStore
) -> None:
    folder = write_checkpoint(tmp_path / "run", 12)
    store.upload(folder)
    (folder / "model.bin").write_bytes(b"?")
    found = newest_verified(tmp_path / "run", said.append, store)
    assert found == folder and verify(folder)["step"] == 12
    assert len(said) == 1


def test_a_damaged_one_in_the_store_is_none_any_more_and_the_one_before_is_taken(
    tmp_path: Path, said: list[str], write_checkpoint: Write, store: ObjectStore
) -> None:
    for step in (9, 12):
        store.upload(write_checkpoint(tmp_path / "old-volume", step))
    (tmp_path / "store" / "run" / "checkpoint-12" / "model.bin").write_bytes(b"?")
    found = newest_verified(tmp_path / "run", said.append, store)
    assert found is not None and found.name == "checkpoint-9"
    assert store.checkpoints() == ["checkpoint-9"] and store.leftovers() == ["checkpoint-12"]
    assert "is not what was saved" in said[0]


def test_a_store_that_is_away_is_no_reason_to_begin_anew(
    tmp_path: Path, said: list[str], write_checkpoint: Write, monkeypatch: pytest.MonkeyPatch, store: ObjectStore
) -> None:
    def away() -> list[str]:
        raise StoreUnavailableError("s3://bucket could not be listed")

    monkeypatch.setattr(store, "checkpoints", away)
    with pytest.raises(CheckpointError, match="could not be listed"):
        newest_verified(tmp_path / "run", said.append, store)
    folder = write_checkpoint(tmp_path / "run", 9)
    assert newest_verified(tmp_path / "run", said.append, store) == folder
    assert "going on from the volume" in said[0]
