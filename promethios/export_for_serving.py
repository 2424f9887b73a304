"""Gather a model folder that can be served: weights, calibration, certificate, report, card, lineage.

    promethios export --model_path runs/nano --output_path models/promethios-nano

The weights are copied bit for bit, so the calibration's hash stays true. The folder loads in `AutoModelForCausalLM`
(after `import promethios.model.governance_sentinel_8b`) and in vLLM.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from promethios import __version__
from promethios.checkpoint.manifest import MANIFEST
from promethios.cli import run_command
from promethios.errors import ModelFolderError
from promethios.evaluation.calibration import FILE_NAME as CALIBRATION
from promethios.evaluation.calibration import Calibration
from promethios.evaluation.certificate import FILE_NAME as CERTIFICATE
from promethios.evaluation.certificate import Certificate
from promethios.evaluation.files import write_atomically
from promethios.evaluation.lineage import LINEAGE, file_hashes
from promethios.model.card import model_card
from promethios.model.folder import (
    REQUIRED_FILES,
    TRAINING_RUN,
    check_model_folder,
    read_json,
    weight_files,
    weights_sha256,
)

REPORT: Final = "evaluation_report.json"
REPORT_PAGE: Final = "evaluation_report.html"
CARD: Final = "README.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--model_path", type=Path, required=True, help="evaluated model folder or checkpoint")
    parser.add_argument(
        "--output_path", type=Path, required=True, help="folder to write; an earlier export is replaced"
    )


def run(args: argparse.Namespace) -> int:
    """Export and return the exit code."""
    lineage = export(args.model_path, args.output_path)
    sys.stdout.write(
        f"exported weights {lineage['weights_sha256'][:12]} to {args.output_path}; "
        f"next: promethios serve --model_path {args.output_path}\n"
    )
    return 0


def export(model_path: Path, output_path: Path) -> dict[str, Any]:
    """Write the served form of `model_path` to `output_path`, whole or not at all, and return its lineage.

    Raises ModelFolderError when a part is missing or belongs to other weights, and when `output_path` holds something
    that is not an export.
    """
    check_model_folder(model_path)
    calibration = Calibration.load(model_path)
    Certificate.load(model_path, calibration)
    report = _report_of(calibration.weights_sha256, model_path)
    if output_path.exists() and any(output_path.iterdir()) and not (output_path / LINEAGE).is_file():
        raise ModelFolderError(f"{output_path} is not empty and holds no earlier export; give another --output_path")
    staging = output_path.with_name(f".{output_path.name}.staging")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        _copy_parts(model_path, staging)
        check_loadable(staging)
        lineage = _lineage(model_path, staging, report)
        write_atomically(staging / CARD, model_card(read_json(staging / "config.json"), report, lineage))
        lineage["files"] = file_hashes(staging)
        write_atomically(staging / LINEAGE, json.dumps(lineage, indent=2) + "\n")
        shutil.rmtree(output_path, ignore_errors=True)
        staging.replace(output_path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return lineage


def check_loadable(folder: Path) -> None:
    """Compare every tensor's name and shape with the model that config.json describes, without loading weights.

    Raises ModelFolderError naming what is missing, unknown or of another shape.
    """
    import torch
    from safetensors import safe_open

    from promethios.model.configuration import PromethiosConfig
    from promethios.model.governance_sentinel_8b import PromethiosForCausalLM

    config = PromethiosConfig.from_pretrained(folder)
    with torch.device("meta"):
        expected = {name: list(tensor.shape) for name, tensor in PromethiosForCausalLM(config).state_dict().items()}
    if config.tie_word_embeddings:
        expected.pop("lm_head.weight")
    found: dict[str, list[int]] = {}
    for path in weight_files(folder):
        with safe_open(path, framework="pt") as tensors:
            found |= {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        raise ModelFolderError(f"{folder}: weights do not fit config.json: {', '.join(wrong[:5])}")


def _report_of(weights: str, model_path: Path) -> dict[str, Any]:
    path = model_path / REPORT
    if not path.is_file():
        raise ModelFolderError(f"{path} is missing; run `promethios evaluate --model_path {model_path}`")
    report = read_json(path)
    if report.get("provenance", {}).get("weights_sha256") != weights:
        raise ModelFolderError(
            f"{path} is about other weights; run `promethios evaluate --model_path {model_path}` for these"
        )
    return report


def _copy_parts(source: Path, target: Path) -> None:
    optional = ("generation_config.json", "model.safetensors.index.json", REPORT_PAGE)
    names = [
        *REQUIRED_FILES,
        CALIBRATION,
        CERTIFICATE,
        REPORT,
        *(name for name in optional if (source / name).is_file()),
    ]
    for path in [*weight_files(source), *(source / name for name in names)]:
        shutil.copyfile(path, target / path.name)


def _lineage(model_path: Path, exported: Path, report: dict[str, Any]) -> dict[str, Any]:
    """From dataset to report: each link is a hash, so that any two parts can be checked against each other."""
    run = next((read_json(model_path / name) for name in (TRAINING_RUN, MANIFEST) if (model_path / name).is_file()), {})
    run.pop("files", None)
    return {
        "promethios_version": __version__,
        "dataset_sha256": run.get("dataset_sha256"),
        "training_run": run,
        "weights_sha256": weights_sha256(exported),
        "calibration_sha256": _sha256(exported / CALIBRATION),
        "certificate_sha256": _sha256(exported / CERTIFICATE),
        "evaluation_report_sha256": _sha256(exported / REPORT),
        "gates_hold": report["passed"],
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
