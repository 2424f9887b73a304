"""Writes the audit log: one line of the chain for each decision, before the first byte of its answer leaves."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from promethios.errors import ConfigError
from promethios_serving.audit.chain import GENESIS, link_of, sealed

SYNC_SECONDS: Final = 1.0
_TAIL_BYTES: Final = 64 * 1024
"""More than the longest line."""
_log: Final = logging.getLogger("promethios.audit")


class AuditLogBroken(Exception):
    """A decision could not be recorded, so it must not take effect."""


class AuditLog:
    """An audit log that is open for writing; one process at a time. Its methods may run in any thread.

    `append` hands a line to the kernel, which survives the death of the process; a thread syncs the file to the disk
    within SYNC_SECONDS, so a power cut takes the last second at most. A line that does not fit is taken back. After a
    failed sync nobody knows what is on the disk, so nothing is recorded any more until the server is started again.

    The file may be renamed while it is written (logrotate without `copytruncate`): the chain goes on in a new one.
    """

    def __init__(self, path: Path) -> None:
        """Open the log and find the end of its chain. Raises ConfigError naming the file and what is wrong with it."""
        self.path = path
        self._lock = threading.Lock()
        self._broken: OSError | None = None
        self._unsynced = threading.Event()
        self._closed = threading.Event()
        try:
            self._file = self._opened()
            self._head = _chain_end(path, self._file)
        except OSError as error:
            raise ConfigError(
                f"the audit log {path} cannot be written: {error.strerror}; change PROMETHIOS_AUDIT_LOG"
            ) from None
        self._syncing = threading.Thread(target=self._sync_until_closed, name="audit-sync", daemon=True)
        self._syncing.start()

    def append(self, record: Mapping[str, Any]) -> str:
        """Write a record and return its hash. Raises AuditLogBroken when the disk does not take it."""
        with self._lock:
            try:
                if self._broken is not None:
                    raise self._broken
                self._follow_rotation()
                line, head = sealed(record, self._head)
                self._write(line)
            except OSError as error:
                raise AuditLogBroken(f"{self.path}: {error.strerror}") from None
            self._head = head
        self._unsynced.set()
        return head

    def close(self) -> None:
        """Sync and close the file."""
        self._closed.set()
        self._unsynced.set()
        self._syncing.join()
        os.close(self._file)

    def _opened(self) -> int:
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            raise OSError(errno.EBUSY, "another server writes it, and each needs its own") from None
        return file

    def _follow_rotation(self) -> None:
        """Go on in a new file when ours is no longer the one at the path."""
        with suppress(FileNotFoundError):
            if os.path.samestat(self.path.stat(), os.fstat(self._file)):
                return
        self._sync(self._file)
        new = self._opened()
        os.close(self._file)
        self._file = new

    def _write(self, line: bytes) -> None:
        size = os.fstat(self._file).st_size
        if os.write(self._file, line) != len(line):  # the disk became full in the middle of it
            os.ftruncate(self._file, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _sync(self, file: int) -> None:
        try:
            os.fdatasync(file)
        except OSError as error:
            self._broken = error
            _log.critical("%s cannot be synced (%s): every request is refused from now on", self.path, error.strerror)
            raise

    def _sync_until_closed(self) -> None:
        while not self._closed.is_set():
            self._unsynced.wait()
            self._unsynced.clear()
            with self._lock:
                file = os.dup(self._file)  # a rotation may close the other meanwhile
            try:
                self._sync(file)
            except OSError:
                return
            finally:
                os.close(file)
            self._closed.wait(SYNC_SECONDS)


def _chain_end(path: Path, file: int) -> str:
    """Return the hash of the newest record: in the log, or where it was renamed to while no server ran.

    Raises ConfigError when the end is no record.
    """
    if tail := _whole_lines(path, file):
        return _last_hash(path, tail)
    rotated = [other for other in path.parent.iterdir() if other.name.startswith(path.name) and other.stat().st_size]
    if not rotated:
        return GENESIS
    newest = max(rotated, key=lambda other: other.stat().st_mtime_ns)
    return _last_hash(newest, newest.read_bytes()[-_TAIL_BYTES:])


def _whole_lines(path: Path, file: int) -> bytes:
    """Return the end of a file, after taking back what a death in the middle of a write left there."""
    size = os.fstat(file).st_size
    tail = os.pread(file, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
    if torn := len(tail) - (tail.rfind(b"\n") + 1):
        _log.warning("%s: %d bytes of a line that was never completed are taken back", path, torn)
        os.ftruncate(file, size - torn)
    return tail[: len(tail) - torn]


def _last_hash(path: Path, tail: bytes) -> str:
    link = link_of(tail.splitlines(keepends=True)[-1])
    if link is None:
        raise ConfigError(f"{path} does not end in an audit record; move it away or change PROMETHIOS_AUDIT_LOG")
    return link.hash
