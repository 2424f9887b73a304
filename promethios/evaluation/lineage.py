"""What an exported folder is made of: hashes by which its parts are checked against each other.

`weights_sha256` covers the weights, `files` every other file by name. A lineage from before there was `files` is
accepted for what it holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from promethios.checkpoint.manifest import sha256
from promethios.errors import ModelFolderError
from promethios.evaluation.calibration import calibration_sha256
from promethios.evaluation.certificate import Certificate, certificate_sha256
from promethios.model.folder import read_json, weight_files

LINEAGE: Final = "lineage.json"
"""Written by `promethios export`; a folder that was only trained and evaluated has none."""
_READ_BY_LOADERS: Final = (".json", ".jinja", ".model", ".py")


def part_hashes(folder: Path, certificate: Certificate) -> dict[str, str]:
    """Return the hashes of weights, calibration and certificate; `certificate` is the folder's own, loaded."""
    return {
        "weights_sha256": certificate.weights_sha256,
        "calibration_sha256": calibration_sha256(folder),
        "certificate_sha256": certificate_sha256(folder),
    }


def load_lineage(folder: Path, certificate: Certificate, *, required: bool = False) -> dict[str, Any] | None:
    """Return a folder's lineage; None where there is none. `certificate` is the folder's own, loaded and so checked.

    Raises ModelFolderError when it is about other weights, another calibration or certificate, when another file is
    missing, changed or, where a loader might read it, added, and where there is none though it is `required`.
    """
    path = folder / LINEAGE
    if not path.is_file():
        if required:
            raise ModelFolderError(f"{path} is missing; serve a folder that `promethios export` wrote")
        return None
    lineage = read_json(path)
    for key, actual in part_hashes(folder, certificate).items():
        if lineage.get(key) != actual:
            raise ModelFolderError(
                f"{path}: {key} is {str(lineage.get(key))[:12]}, the folder holds {actual[:12]}; "
                "run `promethios export` again, to a new folder"
            )
    if "files" in lineage:
        _check_files(folder, lineage["files"])
    return lineage


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file in a folder by its name, without the weights and the lineage itself."""
    without = {LINEAGE, *(path.name for path in weight_files(folder))}
    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name not in without}


def _check_files(folder: Path, hashes: Any) -> None:
    """Raise ModelFolderError, naming the file, where a folder is not what was exported."""
    if not isinstance(hashes, dict):
        raise ModelFolderError(f"{folder / LINEAGE}: `files` must be an object; run `promethios export` again")
    for name, expected in hashes.items():
        path = folder / name
        if not path.is_file() or sha256(path) != expected:
            state = "not the one that was exported" if path.is_file() else "missing"
            raise ModelFolderError(
                f"{path} is {state}; bring the exported file back, or run `promethios export` again, to a new folder"
            )
    known = {*hashes, LINEAGE, *(path.name for path in weight_files(folder))}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in name.parts)
        if path.suffix in _READ_BY_LOADERS and not is_hidden and str(name) not in known:
            raise ModelFolderError(f"{path} was not exported, and a loader might read it; remove it")
