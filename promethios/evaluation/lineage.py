"""What an exported folder is made of: hashes by which its parts are checked against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from promethios.errors import ModelFolderError
from promethios.evaluation.calibration import calibration_sha256
from promethios.evaluation.certificate import Certificate, certificate_sha256
from promethios.model.folder import read_json

LINEAGE: Final = "lineage.json"
"""Written by `promethios export`; a folder that was only trained and evaluated has none."""


def part_hashes(folder: Path, certificate: Certificate) -> dict[str, str]:
    """Return the hashes of weights, calibration and certificate; `certificate` is the folder's own, loaded."""
    return {
        "weights_sha256": certificate.weights_sha256,
        "calibration_sha256": calibration_sha256(folder),
        "certificate_sha256": certificate_sha256(folder),
    }


def load_lineage(folder: Path, certificate: Certificate) -> dict[str, Any] | None:
    """Return a folder's lineage; None where there is none. `certificate` is the folder's own, loaded and so checked.

    Raises ModelFolderError when it is about other weights, another calibration or another certificate.
    """
    path = folder / LINEAGE
    if not path.is_file():
        return None
    lineage = read_json(path)
    for key, actual in part_hashes(folder, certificate).items():
        if lineage.get(key) != actual:
            raise ModelFolderError(
                f"{path}: {key} is {str(lineage.get(key))[:12]}, the folder holds {actual[:12]}; "
                "run `promethios export` again, to a new folder"
            )
    return lineage
