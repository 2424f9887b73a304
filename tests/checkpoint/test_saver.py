from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from promethios.checkpoint.manifest import checkpoints, verify
from promethios.checkpoint.object_store import ObjectStore
from promethios.checkpoint.resume import newest_verified
from promethios.checkpoint.saver import STAGING, CheckpointSaver
from promethios.errors import CheckpointError, StoreUnavailableError
from tests.checkpoint.conftest import Listener

Save = Callable[[CheckpointSaver, int], None]


def names(folder: Path) -> list[str]:
    return [path.name for path in checkpoints(folder)]


def saver_of(output_dir: Path, listener: Listener, **options: object) -> CheckpointSaver:
    settings = {"keep": 2, "listener": listener, "say": lambda text: None} | options
    return CheckpointSaver(output_dir, **settings)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(f"file://{tmp_path}/store/run")


@pytest.mark.parametrize("scratch", [True, False])
def test_a_staged_save_becomes_a_checkpoint_that_verifies(
    tmp_path: Path, listener: Listener, save: Save, scratch: bool
) -> None:
    saver = saver_of(tmp_path / "run", listener, staging=tmp_path / "scratch" if scratch else None)
    save(saver, 8)
    saver.close()
    manifest = verify(tmp_path / "run" / "checkpoint-8")
    assert manifest["step"] == 8 and manifest["world_size"] == 1
    assert listener.saved == [8] and listener.bytes == [4008]
    assert not [*(tmp_path / "scratch").rglob("*.bin"), *(tmp_path / "run" / STAGING).rglob("*")]


def test_the_newest_are_kept_on_the_volume_and_in_the_store_alike(
    tmp_path: Path, listener: Listener, save: Save, store: ObjectStore
) -> None:
    saver = saver_of(tmp_path / "run", listener, store=store)
    for step in (2, 4, 10, 12):
        save(saver, step)
    saver.close()
    assert names(tmp_path / "run") == store.checkpoints() == ["checkpoint-10", "checkpoint-12"]
    assert listener.saved == [2, 4, 10, 12] and not listener.failed


def test_training_goes_on_while_a_save_is_completed_and_the_next_save_waits_for_it(
    tmp_path: Path, listener: Listener, save: Save, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_upload, uploaded = threading.Event(), store.upload
    monkeypatch.setattr(store, "upload", lambda folder: (may_upload.wait(30), uploaded(folder)))
    saver = saver_of(tmp_path / "run", listener, store=store)
    save(saver, 2)  # returns, though nothing can be uploaded yet
    assert not listener.saved
    next_save = threading.Thread(target=save, args=(saver, 4))
    next_save.start()
    assert not (saver.staging / "checkpoint-4").exists()
    may_upload.set()
    next_save.join()
    saver.close()
    assert listener.saved == [2, 4]


def test_a_volume_that_cannot_be_written_loses_no_checkpoint_and_the_next_save_succeeds(
    tmp_path: Path, listener: Listener, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    saver = saver_of(tmp_path / "run", listener, staging=tmp_path / "scratch", say=said.append)
    save(saver, 2)
    saver.wait()
    on_volume = tmp_path / "run" / STAGING
    on_volume.rmdir()
    on_volume.write_text("a file where the folder must go")
    save(saver, 4)
    with pytest.raises(CheckpointError, match=r"checkpoint-4 could not be written .* kept intact: checkpoint-2\."):
        saver.close()
    assert listener.failed == ["volume"] and "training goes on" in said[0]
    on_volume.unlink()
    save(saver, 6)
    saver.close()
    assert names(tmp_path / "run") == ["checkpoint-2", "checkpoint-6"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small volume needs root")
def test_a_full_volume_loses_no_checkpoint(tmp_path: Path, listener: Listener, save: Save) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    if os.system(f"mount -t tmpfs -o size=64k tmpfs {volume} 2>/dev/null"):
        pytest.skip("mounting is not allowed here")
    try:
        saver = saver_of(volume / "run", listener, staging=tmp_path / "scratch")
        save(saver, 8)
        saver.wait()
        (volume / "ballast").write_bytes(b"x" * 44_000)
        save(saver, 12_000)
        with pytest.raises(CheckpointError, match=r"No space left on device.*kept intact: checkpoint-8"):
            saver.close()
        assert verify(volume / "run" / "checkpoint-8")["step"] == 8
        (volume / "ballast").unlink()
        save(saver, 12_001)
        saver.close()
        assert names(volume / "run") == ["checkpoint-8", "checkpoint-12001"]
    finally:
        os.system(f"umount {volume}")


def test_a_store_that_fails_does_not_stop_training_and_gets_what_it_missed(
    tmp_path: Path, listener: Listener, save: Save, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(folder: Path) -> None:
        raise StoreUnavailableError("s3://bucket/run could not be written: connection refused")

    saver = saver_of(tmp_path / "run", listener, store=store)
    with monkeypatch.context() as broken:
        broken.setattr(store, "upload", away)
        save(saver, 2)
        saver.close()
    assert listener.failed == ["store"] and listener.saved == [2]
    save(saver, 4)
    saver.close()
    assert store.checkpoints() == ["checkpoint-2", "checkpoint-4"]


def test_the_last_good_checkpoint_stays_when_the_newest_was_damaged_while_it_was_written(
    tmp_path: Path, listener: Listener, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = saver_of(tmp_path / "run", listener, keep=1)
    save(saver, 2)
    saver.wait()
    upload = saver._upload  # runs between the commit and the deletion of old ones
    monkeypatch.setattr(
        saver,
        "_upload",
        lambda step: ((tmp_path / "run" / "checkpoint-4" / "model.bin").write_bytes(b"?"), upload(step)),
    )
    save(saver, 4)
    saver.close()
    assert names(tmp_path / "run") == ["checkpoint-2"]
    assert "not what was saved" in (tmp_path / "run" / "quarantine" / "checkpoint-4" / "REASON.txt").read_text()


def test_the_first_node_commits_when_every_node_has_brought_its_files(tmp_path: Path, listener: Listener) -> None:
    nodes = [
        saver_of(tmp_path / "run", listener, staging=tmp_path / f"scratch-{node}", node_rank=node, num_nodes=2)
        for node in range(2)
    ]
    for node in (0, 1):
        folder = nodes[node].stage(8)
        folder.mkdir(parents=True)
        (folder / f"rank_{node}.pt").write_bytes(b"x")
    nodes[0].complete(8, {}, blocking_seconds=0.5)
    assert not names(tmp_path / "run")
    nodes[1].complete(8, {}, blocking_seconds=0.5)
    for saver in nodes:
        saver.close()
    assert set(verify(tmp_path / "run" / "checkpoint-8")["files"]) == {"rank_0.pt", "rank_1.pt"}


def _save_until_killed(output_dir: str, store_url: str, save: Save, first_step: int) -> None:
    saver = saver_of(Path(output_dir), Listener(), store=ObjectStore(store_url), staging=Path(output_dir) / "scratch")
    for step in range(first_step, 100_000):
        save(saver, step)


def test_kill_9_at_any_moment_loses_no_complete_checkpoint(tmp_path: Path, save: Save, store: ObjectStore) -> None:
    moments = random.Random(0)
    context = multiprocessing.get_context("fork")
    newest = 0
    for _kill in range(50):
        process = context.Process(target=_save_until_killed, args=(tmp_path / "run", store.url, save, newest + 1))
        process.start()
        process.join(moments.uniform(0.0, 0.05))
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        there = [int(name.rpartition("-")[2]) for name in (*names(tmp_path / "run"), *store.checkpoints())]
        passed_over: list[str] = []
        found = newest_verified(tmp_path / "run", passed_over.append, store)
        assert not passed_over, "a checkpoint was not whole"
        assert max(there, default=0) >= newest
        newest = int(found.name.rpartition("-")[2]) if found else 0
        assert newest == max(there, default=0)
    assert newest > 0
