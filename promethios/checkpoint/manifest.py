"""The manifest that makes a checkpoint complete: every file with its size and SHA-256.

A checkpoint is written under another name, its files forced to the disk, the manifest last, then renamed to
`checkpoint-<step>`. So a folder of that name is whole by construction, and `verify` finds what was damaged or removed
later. In an object store, which has no rename, the manifest is the last object: without it there is no checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from promethios.errors import CheckpointError

MANIFEST: Final = "MANIFEST.json"
_NAME: Final = re.compile(r"checkpoint-(\d+)")


def write_manifest(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Force every file of `folder` to the disk and write their manifest, with `facts` about the run beside them.

    Returns the manifest. Once this has returned, no crash takes the checkpoint away.
    """
    files = {}
    for path in files_of(folder):
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            os.fsync(stream.fileno())
        files[str(path.relative_to(folder))] = {"size": path.stat().st_size, "sha256": digest}
    manifest = {**facts, "files": files}
    temporary = folder / f"{MANIFEST}.tmp"
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(manifest, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(folder / MANIFEST)
    for inside in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        fsync_folder(inside)
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's manifest, its files unchecked. Raises CheckpointError when it is missing or damaged."""
    try:
        text = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} has no {MANIFEST}: it is not a complete checkpoint; give another or none"
        ) from None
    return parse_manifest(text, f"{folder}/{MANIFEST}")


def parse_manifest(text: bytes, place: str) -> dict[str, Any]:
    """Return a manifest from its bytes; `place` names it in the error. Raises CheckpointError when it is damaged."""
    try:
        manifest = dict(json.loads(text))
        for name, entry in manifest["files"].items():
            if entry["size"] < 0 or len(entry["sha256"]) != 64 or Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{place} is damaged; give an earlier checkpoint") from None
    return manifest


def verify(folder: Path) -> dict[str, Any]:
    """Check every file against the manifest and return the manifest.

    Raises CheckpointError naming the first file that is missing, shortened or changed.
    """
    manifest = read_manifest(folder)
    for name, entry in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{folder} is incomplete: {name} is missing; give an earlier checkpoint")
        if path.stat().st_size != entry["size"] or sha256(path) != entry["sha256"]:
            raise CheckpointError(f"{folder} is damaged: {name} is not what was saved; give an earlier checkpoint")
    return manifest


def checkpoints(output_dir: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    found = [(step, path) for path in output_dir.glob("checkpoint-*") if (step := step_of(path.name)) is not None]
    return [path for _, path in sorted(found)]


def step_of(name: str) -> int | None:
    """Return the step of a checkpoint's name; None for any other name."""
    match = _NAME.fullmatch(name)
    return int(match.group(1)) if match else None


def files_of(folder: Path) -> Iterator[Path]:
    """Return every file of a checkpoint except its manifest, in order."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST)


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fsync_folder(folder: Path) -> None:
    """Force a folder's list of names to the disk: what was renamed into it stays."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
