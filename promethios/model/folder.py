"""A model folder: what it must hold, and the fingerprint of its weights. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from promethios.errors import ModelFolderError

REQUIRED_FILES: Final = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
TRAINING_RUN: Final = "training_run.json"
"""The facts of the run that made the folder, written last: its presence says that the run is finished."""
ARCHITECTURE: Final = "PromethiosForCausalLM"
_CHUNK: Final = 1 << 20


def check_model_folder(folder: Path) -> dict[str, Any]:
    """Return a model folder's configuration after checking that the folder is whole.

    Raises ModelFolderError naming what is missing or wrong: no folder, a file or a weight shard missing, not our
    architecture.
    """
    if not folder.is_dir():
        raise ModelFolderError(f"model folder {folder} does not exist; `promethios train` writes one")
    missing = [name for name in REQUIRED_FILES if not (folder / name).is_file()]
    if missing:
        raise ModelFolderError(
            f"model folder {folder} lacks {', '.join(missing)}; `promethios train` writes a whole one"
        )
    config = read_json(folder / "config.json")
    if config.get("architectures") != [ARCHITECTURE]:
        raise ModelFolderError(
            f"{folder}/config.json: architectures is {config.get('architectures')!r}, allowed is [{ARCHITECTURE!r}]"
        )
    weight_files(folder)
    return config


def weights_sha256(folder: Path) -> str:
    """Return the SHA-256 over names and bytes of the folder's weight files, in name order.

    Calibration, certificate and lineage are tied to this value. Raises ModelFolderError when a file is missing.
    """
    digest = hashlib.sha256()
    for path in weight_files(folder):
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """Return the folder's weight files in name order. Raises ModelFolderError when one is missing."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(read_json(index).get("weight_map", {}).values()))
    else:
        names = ["model.safetensors"]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        raise ModelFolderError(f"model folder {folder} lacks its weights: {', '.join(missing) or 'empty index'}")
    return [folder / name for name in names]


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object from one of the folder's files. Raises ModelFolderError when it is not one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFolderError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise ModelFolderError(f"{path} must hold a JSON object")
    return content
