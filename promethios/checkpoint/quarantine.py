"""Where a checkpoint goes that does not verify: kept for a look, out of the way of resuming."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

QUARANTINE: Final = "quarantine"
REASON: Final = "REASON.txt"


def quarantine(checkpoint: Path, reason: str) -> Path:
    """Move a bad checkpoint into the run's quarantine, with the reason beside it; return its new place.

    Only the newest bad one is kept: a full checkpoint is large, and the volume is sized for good ones.
    """
    folder = checkpoint.parent / QUARANTINE
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    target = folder / checkpoint.name
    checkpoint.replace(target)
    (target / REASON).write_text(reason + "\n", encoding="utf-8")
    return target
