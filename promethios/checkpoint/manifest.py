"""The manifest that makes a checkpoint complete: every file with its size and SHA-256.

A checkpoint is written under a staging name, the manifest last, then renamed to `checkpoint-<step>`. So a folder of
that name is whole by construction, and `verify` finds what was damaged or removed later.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, Final

from promethios.errors import CheckpointError

MANIFEST: Final = "MANIFEST.json"
_NAME: Final = re.compile(r"checkpoint-(\d+)")


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write the manifest of all files in `folder`, with `facts` about the run beside them."""
    files = {
        str(path.relative_to(folder)): {"size": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    temporary = folder / f"{MANIFEST}.tmp"
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump({**facts, "files": files}, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(folder / MANIFEST)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's manifest, its files unchecked. Raises CheckpointError when it is missing or damaged."""
    try:
        manifest = dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
        manifest["files"].items()
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} has no {MANIFEST}: it is not a complete checkpoint; give another or none"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{folder}/{MANIFEST} is damaged; give an earlier checkpoint") from None
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
        if path.stat().st_size != entry["size"] or _sha256(path) != entry["sha256"]:
            raise CheckpointError(f"{folder} is damaged: {name} is not what was saved; give an earlier checkpoint")
    return manifest


def checkpoints(output_dir: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    found = [
        (int(match.group(1)), path) for path in output_dir.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found)]


def newest_verified(output_dir: Path) -> tuple[Path | None, list[str]]:
    """Return the newest checkpoint that verifies, or None, and a reason for each newer one that was passed over."""
    reasons = []
    for path in reversed(checkpoints(output_dir)):
        try:
            verify(path)
        except CheckpointError as error:
            reasons.append(str(error))
            continue
        return path, reasons
    return None, reasons


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
