"""Completes checkpoints beside the training: hash, force to disk, commit, upload, delete old ones.

Training waits only until its states are in the staging folder (`stage`), which may be fast local scratch. One thread
then makes them a checkpoint on the volume and in the object store:

    STAGING/checkpoint-20/  ->  OUTPUT/.staging/checkpoint-20/  ->  OUTPUT/checkpoint-20/  ->  STORE/checkpoint-20/

One save is in flight at most; the next one waits for it. A save that fails is told and counted, and the training goes
on: what was complete before stays. With several nodes each brings its own files to the volume, which all of them see,
and the first one commits when all are there.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from promethios.checkpoint.manifest import checkpoints, files_of, fsync_folder, verify, write_manifest
from promethios.checkpoint.quarantine import quarantine
from promethios.errors import CheckpointError, PromethiosError

if TYPE_CHECKING:
    from promethios.checkpoint.object_store import ObjectStore

STAGING: Final = ".staging"
NODES_SECONDS: Final = 1800
"""How long the first node waits for the others' files."""


class SaveListener(Protocol):
    """Who is told of saves, from the thread that completes them."""

    def on_saved(self, step: int, blocking_seconds: float, background_seconds: float, num_bytes: int) -> None:
        """A checkpoint is complete on the volume, and in the store if there is one."""

    def on_failed(self, place: str, error: Exception) -> None:
        """A save failed: `place` is volume or store."""


class CheckpointSaver:
    """Completes the checkpoints of one run, on one process of each node.

    output_dir: the run's folder. keep: checkpoints to keep, on the volume and in the store alike. staging: where
    training writes; by default on the volume itself, so that completing one is a rename. node_rank, num_nodes: of this
    job. say: tells the user a line.
    """

    def __init__(
        self,
        output_dir: Path,
        *,
        keep: int,
        listener: SaveListener,
        say: Callable[[str], None],
        store: ObjectStore | None = None,
        staging: Path | None = None,
        node_rank: int = 0,
        num_nodes: int = 1,
    ) -> None:
        self.output_dir = output_dir
        self.keep = keep
        self.listener = listener
        self.say = say
        self.store = store
        self.on_volume = output_dir / STAGING
        self.staging = staging / f"{output_dir.name}{STAGING}" if staging else self.on_volume
        self.node_rank = node_rank
        self.num_nodes = num_nodes
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    def stage(self, step: int) -> Path:
        """Wait for the save in flight, if any; return the folder that training writes this step's states into.

        What a killed attempt left there is removed, so every node has to have been here before one writes.
        """
        self.wait()
        if self.staging != self.on_volume:
            shutil.rmtree(self.staging, ignore_errors=True)
        if self.node_rank == 0:
            shutil.rmtree(self.on_volume, ignore_errors=True)
        return self.staging / f"checkpoint-{step}"

    def complete(self, step: int, facts: Mapping[str, Any], *, blocking_seconds: float) -> None:
        """Complete the staged checkpoint of a step, beside the training. facts: what its manifest says of the run."""
        self.wait()
        arguments = (step, dict(facts), blocking_seconds)
        self._thread = threading.Thread(target=self._complete, args=arguments, name=f"checkpoint-{step}")
        self._thread.start()

    def wait(self) -> None:
        """Wait until no save is in flight."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def close(self) -> None:
        """Wait until no save is in flight. Raises CheckpointError when the newest one is not on the volume."""
        self.wait()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise CheckpointError(str(failure)) from failure

    def abandon(self, step: int, error: Exception) -> None:
        """Drop a save that failed before it was complete, tell of it, and go on with what there is."""
        for folder in {self.staging, self.on_volume}:
            shutil.rmtree(folder / f"checkpoint-{step}", ignore_errors=True)
            with contextlib.suppress(OSError):
                folder.rmdir()
        kept = [path.name for path in checkpoints(self.output_dir)]
        self._failure = CheckpointError(
            f"checkpoint-{step} could not be written to {self.output_dir}: {' '.join(str(error).split())[:200]}; "
            f"kept intact: {', '.join(kept) or 'nothing'}. Free space, then run the same command to resume"
        )
        self.say(f"{self._failure}; training goes on")
        self.listener.on_failed("volume", error)

    def _complete(self, step: int, facts: dict[str, Any], blocking_seconds: float) -> None:
        started = time.monotonic()
        try:
            self._bring_to_volume(step)
            if self.node_rank > 0:
                return
            self._wait_for_nodes(step)
            num_bytes = self._commit(step, facts)
        except Exception as error:  # noqa: BLE001 - whatever a volume raises, training goes on
            self.abandon(step, error)
            return
        self._failure = None
        uploaded = self._upload(step)
        self.listener.on_saved(step, blocking_seconds, time.monotonic() - started, num_bytes)
        self._delete_old(uploads=uploaded)

    def _bring_to_volume(self, step: int) -> None:
        if self.staging != self.on_volume:
            staged, target = self.staging / f"checkpoint-{step}", self.on_volume / f"checkpoint-{step}"
            for path in files_of(staged):
                copy = target / path.relative_to(staged)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
            shutil.rmtree(staged)
        if self.num_nodes > 1:
            self._arrival(step, self.node_rank).touch()

    def _arrival(self, step: int, node: int) -> Path:
        return self.on_volume / f"checkpoint-{step}.node-{node}"

    def _wait_for_nodes(self, step: int) -> None:
        if self.num_nodes == 1:
            return
        deadline = time.monotonic() + NODES_SECONDS
        missing = set(range(self.num_nodes))
        while missing := {node for node in missing if not self._arrival(step, node).exists()}:
            if time.monotonic() > deadline:
                raise CheckpointError(f"node {min(missing)} did not bring its files in {NODES_SECONDS} s")
            time.sleep(0.1)
        for node in range(self.num_nodes):
            self._arrival(step, node).unlink()

    def _commit(self, step: int, facts: dict[str, Any]) -> int:
        staged, final = self.on_volume / f"checkpoint-{step}", self.output_dir / f"checkpoint-{step}"
        manifest = write_manifest(staged, {"step": step, **facts})
        if final.exists():  # when an older one was resumed; renamed, so that a kill never leaves it half there
            final.replace(self.on_volume / f"replaced-{step}")
        staged.replace(final)
        fsync_folder(self.output_dir)
        shutil.rmtree(self.on_volume / f"replaced-{step}", ignore_errors=True)
        return sum(entry["size"] for entry in manifest["files"].values())

    def _upload(self, step: int) -> bool:
        """Upload the checkpoint of `step`, and those that an earlier failure left out; returns whether all are there.

        The store's own is replaced when there is one of this step: an older one was resumed.
        """
        if self.store is None:
            return False
        try:
            present = self.store.checkpoints()
            for folder in checkpoints(self.output_dir)[-self.keep :]:
                if folder.name not in present or folder.name == f"checkpoint-{step}":
                    self.store.upload(folder)
        except Exception as error:  # noqa: BLE001 - the volume has it; the next save tries again
            self.say(f"{error}; the checkpoint is on the volume, and the next save uploads it, too")
            self.listener.on_failed("store", error)
            return False
        return True

    def _delete_old(self, *, uploads: bool) -> None:
        """Delete all but the newest, on the volume and with `uploads` in the store; never before it is verified."""
        try:
            *_, newest = found = checkpoints(self.output_dir)
            if len(found) > self.keep:
                try:
                    verify(newest)
                except CheckpointError as error:
                    self.say(f"{error}; older ones are kept")
                    quarantine(newest, str(error))
                    self.listener.on_failed("volume", error)
                    return
                for old in found[: -self.keep]:
                    shutil.rmtree(old.replace(self.on_volume / old.name))  # so never a half one under its name
            if uploads:
                self._delete_old_uploads()
        except (OSError, PromethiosError) as error:
            self.say(f"old checkpoints could not be deleted: {error}")

    def _delete_old_uploads(self) -> None:
        if self.store is None:
            return
        uploaded = self.store.checkpoints()
        for name in uploaded[: -self.keep]:
            self.store.delete(name)
        for name in self.store.leftovers():
            if not (self.output_dir / name).is_dir():  # else its upload failed half-way and is tried again
                self.store.delete(name)
