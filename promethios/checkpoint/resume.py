"""Find where a run goes on: the newest checkpoint that verifies, on the volume or in the object store."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from promethios.checkpoint.manifest import checkpoints, step_of, verify
from promethios.checkpoint.quarantine import quarantine
from promethios.checkpoint.saver import STAGING
from promethios.errors import CheckpointError, StoreUnavailableError

if TYPE_CHECKING:
    from promethios.checkpoint.object_store import ObjectStore


def newest_verified(output_dir: Path, say: Callable[[str], None], store: ObjectStore | None = None) -> Path | None:
    """Return the newest checkpoint that verifies, downloaded into `output_dir` if it is only in the store, or None.

    A bad one goes to quarantine, the reason is said, and the one before is tried. For one process of a job: it moves
    folders. Raises StoreUnavailableError when the store does not answer and the volume has nothing to go on from:
    beginning anew would throw away what the store may hold.
    """
    local = {path.name: path for path in checkpoints(output_dir)}
    remote = _uploaded(store, local, say)
    for name in sorted({*local, *remote}, key=lambda name: step_of(name) or 0, reverse=True):
        if name in local:
            try:
                verify(local[name])
                return local[name]
            except CheckpointError as error:
                say(f"passed over, now in {quarantine(local[name], str(error))}: {error}")
        if name in remote and store is not None:
            try:
                return _downloaded(store, name, output_dir)
            except StoreUnavailableError:
                raise
            except CheckpointError as error:
                store.quarantine(name, str(error))
                say(f"passed over: {error}")
            except OSError as error:
                raise CheckpointError(
                    f"{name} could not be read into {output_dir}: {error.strerror}; free space, then run the same "
                    "command to resume"
                ) from error
    return None


def _uploaded(store: ObjectStore | None, local: dict[str, Path], say: Callable[[str], None]) -> list[str]:
    if store is None:
        return []
    try:
        return store.checkpoints()
    except StoreUnavailableError as error:
        if not local:
            raise
        say(f"{error}; going on from the volume")
        return []


def _downloaded(store: ObjectStore, name: str, output_dir: Path) -> Path:
    staged, final = output_dir / STAGING / name, output_dir / name
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    store.download(name, staged)
    staged.replace(final)
    return final
