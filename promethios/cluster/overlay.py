"""An overlay of manifests/, or one of your own, as objects: rendered by kubectl, with namespace and image put in."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import yaml

from promethios.cluster.connection import Object
from promethios.errors import ClusterError, nearest

IMAGE: Final = "promethios/train"
"""The name that the manifests give the training image."""
_OVERLAYS: Final = Path("manifests", "overlays")
_ROOTS: Final = (Path(), Path(__file__).parents[2])
_KUSTOMIZATION: Final = "kustomization.yaml"


def find_overlay(name_or_folder: str) -> Path:
    """Return the folder of an overlay: a folder, or a name in manifests/overlays. Raises ClusterError."""
    folders = [Path(name_or_folder), *(root / _OVERLAYS / name_or_folder for root in _ROOTS)]
    for folder in folders:
        if (folder / _KUSTOMIZATION).is_file():
            return folder
    names = sorted({path.parent.name for root in _ROOTS for path in (root / _OVERLAYS).glob(f"*/{_KUSTOMIZATION}")})
    raise ClusterError(
        f"--overlay {name_or_folder}: neither a folder with a {_KUSTOMIZATION} nor an overlay"
        + (nearest(name_or_folder, names) if names else " (there is no folder manifests/overlays here)")
    )


def render(overlay: Path, namespace: str, image: str | None) -> list[Object]:
    """Return the objects of an overlay, in that namespace. image: NAME:TAG or NAME@DIGEST instead of promethios/train.

    Raises ClusterError when kubectl is missing or cannot render it.
    """
    program = shutil.which("kubectl")
    if program is None:
        raise ClusterError("kubectl is not on PATH; install it (1.27 or later): it renders the manifests")
    with tempfile.TemporaryDirectory(prefix="promethios-overlay-") as folder:
        content: dict[str, Any] = {
            "namespace": namespace,
            # Absolute folders are refused.
            "resources": [os.path.relpath(overlay.resolve(), Path(folder).resolve())],
        }
        if image is not None:
            content["images"] = [_image(image)]
        (Path(folder) / _KUSTOMIZATION).write_text(yaml.safe_dump(content), encoding="utf-8")
        result = subprocess.run([program, "kustomize", folder], capture_output=True, text=True, check=False)
    if result.returncode:
        raise ClusterError(f"--overlay {overlay}: kubectl cannot render it: {result.stderr.strip()}")
    return [each for each in yaml.safe_load_all(result.stdout) if each]


def _image(image: str) -> dict[str, str]:
    name, at, digest = image.partition("@")
    if at:
        return {"name": IMAGE, "newName": name, "digest": digest}
    name, colon, tag = image.rpartition(":")
    if not colon or "/" in tag or not name or not tag:
        raise ClusterError(f"--image {image}: give NAME:TAG or NAME@sha256:...; without a tag it would be any image")
    return {"name": IMAGE, "newName": name, "newTag": tag}
