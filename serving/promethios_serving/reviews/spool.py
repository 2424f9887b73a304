"""What waits on disk for the hub: one file a document, safe against the death of the process and of the machine.

    <root>/<engine>-<random>/owner.lock              held with flock by the living owner
    <root>/<engine>-<random>/reviews/<number>.json   a document, to be sent in order of its number
    <root>/<engine>-<random>/rejected/<kind>-<number>.json   {"reason", "document"}: the hub will never take it

A document is written to a temporary name, synced, renamed, and its folder synced: after `put` returns it survives a
`kill -9` and a power cut. A folder whose owner died is adopted by any living engine with the same root (`adopt`). The
kind of a document is the name that the hub knows it by: `reviews` or `outcomes`.
"""

from __future__ import annotations

import asyncio
import fcntl
import heapq
import json
import os
import shutil
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from promethios.errors import ConfigError
from promethios_serving import metrics

KINDS: Final = ("reviews", "outcomes")
REJECTED: Final = "rejected"
_LOCK: Final = "owner.lock"
_SUFFIX: Final = ".json"


class SpoolFull(Exception):
    """A document could not be made safe: the disk is full or broken, or the spool's limit is reached."""


class Spool:
    """One process's folder of waiting documents, and those it adopted. Its methods may run in threads."""

    def __init__(self, root: Path, engine: str, max_bytes: int) -> None:
        """Make a folder of its own below `root`. Raises ConfigError when that cannot be done."""
        self.root = root
        self.max_bytes = max_bytes
        self.arrived = asyncio.Event()
        self._folder = root / f"{engine}-{uuid.uuid4().hex[:12]}"
        self._lock = threading.Lock()
        self._number = 0
        self._bytes = 0
        self._waiting = 0
        try:
            self._locks = {self._folder: _made(self._folder)}
        except OSError as error:
            raise ConfigError(f"the spool {root} cannot be written: {error.strerror or error}") from None

    @property
    def waiting(self) -> int:
        """How many documents wait, those of adopted folders included."""
        return self._waiting

    async def put(self, kind: str, document: Mapping[str, Any]) -> None:
        """Make a document safe on disk. Raises SpoolFull."""
        await asyncio.to_thread(self.write, kind, document)
        self.arrived.set()

    def write(self, kind: str, document: Mapping[str, Any]) -> None:
        """Make a document safe on disk, in this thread. Raises SpoolFull."""
        content = json.dumps(document, ensure_ascii=False).encode()
        with self._lock:
            if self._bytes + len(content) > self.max_bytes:
                raise SpoolFull(f"{self._bytes} bytes wait for the hub; the limit is PROMETHIOS_SPOOL_MAX_BYTES")
            self._bytes += len(content)
            self._number += 1
            target = self._folder / kind / f"{self._number:012d}{_SUFFIX}"
        try:
            _write_safely(target, content)
        except OSError as error:
            self._count(0, -len(content))
            raise SpoolFull(f"{self.root} cannot be written: {error.strerror or error}") from None
        self._count(1, 0)

    def oldest(self, kind: str, limit: int, max_bytes: int) -> list[Path]:
        """Return the files of the oldest documents of a kind: at most `limit`, of `max_bytes` together, at least one.

        All of one folder, so that a document never overtakes an older one of the same process.
        """
        for folder in list(self._locks):
            chosen: list[Path] = []
            size = 0
            names = (file.name for file in (folder / kind).iterdir() if file.suffix == _SUFFIX)
            for file in (folder / kind / name for name in heapq.nsmallest(limit, names)):
                size += file.stat().st_size
                if chosen and size > max_bytes:
                    break
                chosen.append(file)
            if chosen:
                return chosen
        return []

    def remove(self, files: list[Path]) -> None:
        """Forget documents that the hub has."""
        size = sum(file.stat().st_size for file in files)
        for file in files:
            file.unlink()
        self._count(-len(files), -size)

    def reject(self, file: Path, reason: str) -> Path:
        """Put a document aside that the hub will never take, with the reason. Returns where it is now."""
        target = file.parent.parent / REJECTED / f"{file.parent.name}-{file.name}"
        # not parsed: a document that a broken disk spoilt is refused, too
        _write_safely(target, b'{"reason": %s, "document": %s}' % (json.dumps(reason).encode(), file.read_bytes()))
        self.remove([file])
        return target

    def adopt(self) -> list[Path]:
        """Take over the folders below the root whose owner died; returns them. Drops adopted ones that are empty."""
        for folder in [folder for folder in self._locks if folder != self._folder and _is_empty(folder)]:
            shutil.rmtree(folder)
            os.close(self._locks.pop(folder))
        adopted = []
        for folder in sorted(self.root.iterdir()):
            if folder in self._locks or folder.name.startswith(".") or not (folder / _LOCK).is_file():
                continue
            if (lock := _locked(folder)) is not None:
                self._locks[folder] = lock
                for name in (*KINDS, REJECTED):  # its last adopter may have died while it removed the folder
                    (folder / name).mkdir(exist_ok=True)
                sizes = [file.stat().st_size for kind in KINDS for file in (folder / kind).glob(f"*{_SUFFIX}")]
                self._count(len(sizes), sum(sizes))
                adopted.append(folder)
        return adopted

    def close(self) -> None:
        """Give the folders up; what waits in them is adopted by the next engine."""
        for folder, lock in self._locks.items():
            if folder == self._folder and _is_empty(folder):
                shutil.rmtree(folder)
            os.close(lock)
        self._locks.clear()

    def _count(self, documents: int, size: int) -> None:
        with self._lock:
            self._waiting += documents
            self._bytes += size
            metrics.REVIEWS_SPOOLED.set(self._waiting)


def _made(folder: Path) -> int:
    """Make a spool folder and return its held lock. Other engines see it only when it is locked."""
    hidden = folder.with_name(f".{folder.name}")
    for name in (*KINDS, REJECTED):
        (hidden / name).mkdir(parents=True)
    lock = os.open(hidden / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    hidden.rename(folder)
    _sync_folder(folder.parent)
    return lock


def _locked(folder: Path) -> int | None:
    """Return the lock of a folder whose owner died; None while it lives, or when another engine was faster."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if (folder / _LOCK).exists():  # not a folder that its former adopter has just removed
            return lock
    except BlockingIOError:
        pass
    os.close(lock)
    return None


def _is_empty(folder: Path) -> bool:
    return not any(file.suffix == _SUFFIX for name in (*KINDS, REJECTED) for file in (folder / name).iterdir())


def _write_safely(target: Path, content: bytes) -> None:
    partial = target.with_suffix(".part")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.rename(target)
        _sync_folder(target.parent)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
