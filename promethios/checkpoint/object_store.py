"""Checkpoints in an object store: the same files under the same names, each checkpoint's manifest last.

An object store has no rename, so the manifest is the commit: a checkpoint without one does not exist. It is written
after every file is there with its size, and it is the first to go when a checkpoint is deleted.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from promethios.checkpoint.manifest import MANIFEST, files_of, parse_manifest, step_of
from promethios.errors import CheckpointError, ConfigError, StoreUnavailableError

SCHEMES: Final = ("s3://", "gs://", "az://", "file:///")
DELETE_BATCH: Final = 1000
PART_BYTES: Final = 32 * 2**20
"""Of a file in one request: S3 takes 10,000 of them for one object."""
REQUESTS: Final = 8
"""At once."""
_REFUSED: Final = re.compile(r"status code: 4(?!08|29)\d\d")
"""Of an answer that trying again does not change; obstore has exceptions for some of them, not for listing."""
_BROKEN: Final = "HTTP error"
"""In the message of a request that got no answer."""
_PAUSE_S: Final = 0.5
_T = TypeVar("_T")


class ObjectStore:
    """The checkpoints of one run in an object store.

    url: bucket and prefix, for example s3://bucket/runs/governance-8b; file:///... is for trying it out. Credentials
    and endpoint come from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on, as for the SDKs). Failed
    requests are repeated for retry_seconds, with growing pauses. Every method raises StoreUnavailableError when the
    store cannot be reached or fails on, ConfigError when it refuses, and CheckpointError when something is not there.
    """

    def __init__(self, url: str, *, retry_seconds: float = 120) -> None:
        if not url.startswith(SCHEMES):
            raise ConfigError(f"--checkpoint_store {url}: give a URL that begins with {', '.join(SCHEMES)}")
        self.url = url.rstrip("/")
        self._retry_seconds = retry_seconds
        local = url.startswith("file://")
        # Python's names for it: obstore takes the client's options apart from the store's.
        options: dict[str, Any] = {
            "retry_config": {"max_retries": 20, "retry_timeout": timedelta(seconds=retry_seconds)},
            "client_options": {"allow_http": True, "connect_timeout": "10s", "timeout": "60s"},
        }
        self._store = self._do("opened", from_url, url, **({"mkdir": True} if local else options))

    def checkpoints(self) -> list[str]:
        """Return the names of the complete checkpoints, oldest first."""
        return [name for name, objects in self._folders().items() if f"{name}/{MANIFEST}" in objects]

    def upload(self, folder: Path) -> None:
        """Write a complete checkpoint into the store, its manifest last, when every file is there with its size.

        One of the same name is replaced; while that lasts there is none.
        """
        name = folder.name
        self.delete(name)
        files = {f"{name}/{path.relative_to(folder).as_posix()}": path for path in files_of(folder)}
        for key, path in files.items():
            self._put(key, path)
        stored = self._folders().get(name, {})
        for key, path in files.items():
            if stored.get(key) != path.stat().st_size:
                raise StoreUnavailableError(
                    f"{self.url}/{key} has {stored.get(key)} bytes, not {path.stat().st_size}, after it was written"
                )
        self._put(f"{name}/{MANIFEST}", folder / MANIFEST)

    def manifest(self, name: str) -> dict[str, Any]:
        """Return a checkpoint's manifest. Raises CheckpointError when there is none or it is damaged."""
        key = f"{name}/{MANIFEST}"
        return parse_manifest(self._read(key), f"{self.url}/{key}")

    def download(self, name: str, into: Path) -> None:
        """Read a checkpoint into an empty folder, every file checked against the manifest, which comes last.

        Raises CheckpointError for a file that is missing or not what was saved.
        """
        key = f"{name}/{MANIFEST}"
        manifest = self._read(key)
        files = parse_manifest(manifest, f"{self.url}/{key}")["files"]
        with ThreadPoolExecutor(REQUESTS) as threads:
            for _ in threads.map(lambda file: self._get(f"{name}/{file}", into / file, files[file]), files):
                pass
        (into / MANIFEST).write_bytes(manifest)

    def delete(self, name: str) -> None:
        """Delete a checkpoint, its manifest first: half deleted it is none."""
        keys = sorted(self._folders().get(name, {}), key=lambda key: not key.endswith(f"/{MANIFEST}"))
        for batch in (keys[:1], *(keys[i : i + DELETE_BATCH] for i in range(1, len(keys), DELETE_BATCH))):
            if batch:
                self._do(f"{name} deleted", obstore.delete, self._store, batch)

    def quarantine(self, name: str, reason: str) -> None:
        """Make a bad checkpoint none: its manifest goes, the reason stands beside its files until they are deleted."""
        self._do(f"{name} marked", obstore.put, self._store, f"{name}/REASON.txt", reason.encode())
        self._do(f"{name} marked", obstore.delete, self._store, f"{name}/{MANIFEST}")

    def leftovers(self) -> list[str]:
        """Return the names under which an upload began and no manifest followed, oldest first."""
        return [name for name, objects in self._folders().items() if f"{name}/{MANIFEST}" not in objects]

    def _folders(self) -> dict[str, dict[str, int]]:
        """Objects and their sizes, by checkpoint, oldest first."""
        found: dict[str, dict[str, int]] = {}
        for item in self._do("listed", obstore.list(self._store).collect):
            name = item["path"].partition("/")[0]
            if step_of(name) is not None:
                found.setdefault(name, {})[item["path"]] = item["size"]
        return dict(sorted(found.items(), key=lambda entry: step_of(entry[0]) or 0))

    def _put(self, key: str, path: Path) -> None:
        self._do(f"{key} written", obstore.put, self._store, key, path, chunk_size=PART_BYTES, max_concurrency=REQUESTS)

    def _read(self, key: str) -> bytes:
        return bytes(self._do(f"{key} read", lambda: obstore.get(self._store, key).bytes()))

    def _get(self, key: str, path: Path, entry: Mapping[str, Any]) -> None:
        """Read a file in parts, so that the time for a request bounds no file's size; check it against its entry."""
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        size = self._do(f"{key} read", obstore.head, self._store, key)["size"]
        with path.open("wb") as stream:
            for start in range(0, size, PART_BYTES):
                end = min(start + PART_BYTES, size)
                part = self._do(f"{key} read", obstore.get_range, self._store, key, start=start, end=end)
                digest.update(part)
                stream.write(part)
        if digest.hexdigest() != entry["sha256"]:
            raise CheckpointError(f"{self.url}/{key} is not what was saved; an earlier checkpoint is taken")

    def _do(self, what: str, action: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
        give_up = time.monotonic() + self._retry_seconds
        while True:
            try:
                return action(*args, **kwargs)
            except FileNotFoundError:  # what obstore raises for an object, too
                raise CheckpointError(f"{self.url} could not be {what}: there is no such file") from None
            except (BaseError, ValueError) as error:
                reason = " ".join(str(error).partition("Debug source")[0].split())
                refused = isinstance(error, ValueError) or _REFUSED.search(reason)
                message = f"{self.url} could not be {what}: {reason[:400]}"
                if refused:
                    hint = "mend the URL or the credentials (AWS_* in the environment)"
                    raise ConfigError(f"{message}; {hint}") from None
                # obstore repeats most of what fails, but not every request whose connection broke in its middle.
                if _BROKEN not in reason or time.monotonic() + _PAUSE_S > give_up:
                    raise StoreUnavailableError(message) from None
            time.sleep(_PAUSE_S)
