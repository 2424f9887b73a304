"""On the local file system, through the same library; tests/e2e/test_object_store.py has a real S3 server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.exceptions import GenericError

from promethios.checkpoint.manifest import MANIFEST, verify
from promethios.checkpoint.object_store import ObjectStore
from promethios.errors import CheckpointError, ConfigError, StoreUnavailableError

Write = Callable[[Path, int], Path]


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(f"file://{tmp_path}/store/run")


def test_what_was_uploaded_comes_back_and_verifies(tmp_path: Path, write_checkpoint: Write, store: ObjectStore) -> None:
    store.upload(write_checkpoint(tmp_path, 7))
    (tmp_path / "back").mkdir()
    store.download("checkpoint-7", tmp_path / "back")
    assert verify(tmp_path / "back")["step"] == 7


def test_checkpoints_are_in_the_order_of_their_steps(
    tmp_path: Path, write_checkpoint: Write, store: ObjectStore
) -> None:
    for step in (100, 9):
        store.upload(write_checkpoint(tmp_path, step))
    assert store.checkpoints() == ["checkpoint-9", "checkpoint-100"]


def test_an_upload_without_its_manifest_is_no_checkpoint(
    tmp_path: Path, write_checkpoint: Write, store: ObjectStore
) -> None:
    folder = write_checkpoint(tmp_path, 7)
    manifest = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).unlink()
    with pytest.raises(CheckpointError, match=r"MANIFEST.json written: there is no such file"):
        store.upload(folder)
    assert store.checkpoints() == [] and store.leftovers() == ["checkpoint-7"]
    (folder / MANIFEST).write_bytes(manifest)
    store.upload(folder)
    assert store.checkpoints() == ["checkpoint-7"] and store.leftovers() == []


def test_deleting_and_quarantine_take_the_manifest(tmp_path: Path, write_checkpoint: Write, store: ObjectStore) -> None:
    for step in (7, 9):
        store.upload(write_checkpoint(tmp_path, step))
    store.delete("checkpoint-7")
    store.quarantine("checkpoint-9", "model.bin is not what was saved")
    assert store.checkpoints() == [] and store.leftovers() == ["checkpoint-9"]
    assert (tmp_path / "store" / "run" / "checkpoint-9" / "REASON.txt").is_file()


def test_a_checkpoint_that_is_not_there_is_named(store: ObjectStore) -> None:
    with pytest.raises(CheckpointError, match=r"checkpoint-7/MANIFEST.json read: there is no such file"):
        store.manifest("checkpoint-7")


@pytest.mark.parametrize("url", ["bucket/prefix", "http://bucket", "s4://bucket"])
def test_another_kind_of_url_is_refused_with_what_is_allowed(url: str) -> None:
    with pytest.raises(ConfigError, match=r"--checkpoint_store .*s3://, gs://, az://, file:///"):
        ObjectStore(url)


def test_a_connection_that_breaks_in_a_request_is_tried_again_and_other_failures_are_not(
    tmp_path: Path, write_checkpoint: Write, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, failures = obstore.put, ["HTTP error: error sending request", "HTTP error: error sending request"]

    def fragile(*args: Any, **kwargs: Any) -> Any:
        if failures:
            raise GenericError(f"Generic S3 error: {failures.pop()}")
        return put(*args, **kwargs)

    monkeypatch.setattr(obstore, "put", fragile)
    monkeypatch.setattr("promethios.checkpoint.object_store._PAUSE_S", 0.0)
    store.upload(write_checkpoint(tmp_path, 7))
    assert store.checkpoints() == ["checkpoint-7"] and not failures
    failures[:] = ["the answer cannot be read"] * 2
    with pytest.raises(StoreUnavailableError, match="the answer cannot be read"):
        store.upload(tmp_path / "checkpoint-7")
    assert len(failures) == 1
