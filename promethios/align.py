"""Prefer what reviewers preferred, then calibrate again.

    promethios align --model_path runs/nano --feedback_dir data/feedback --output_dir runs/nano-aligned
    torchrun --nproc_per_node=8 -m promethios.align --model_path models/governance-8b ...

DPO or KTO (TRL) on the responses, given prompt, telemetry and decision; the model's original training data is replayed,
so that decisions stay what they were. The result is new weights, which the old calibration and certificate do not fit:
the command ends with `promethios evaluate` on them, and with its exit code.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promethios import cli
from promethios.cli import run_command
from promethios.configs.run_config import RunConfig, parse_overrides, parse_run_config
from promethios.data.example import read_examples
from promethios.data.feedback import DPO, KTO, feedback_sha256, read_preferences
from promethios.data.folder import DEFAULT_DATA_DIR, dataset_sha256, split_path
from promethios.errors import ConfigError, ModelFolderError
from promethios.model.folder import TRAINING_RUN, check_model_folder, read_json, weights_sha256
from promethios.training.process import is_first_rank, num_ranks, prepare_process

METHODS = {"dpo": DPO, "kto": KTO}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--model_path", type=Path, required=True, help="trained model folder")
    parser.add_argument("--feedback_dir", type=Path, required=True, help="folder that `promethios feedback` wrote")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for the aligned model, new or empty")
    parser.add_argument("--data_dir", type=Path, default=DEFAULT_DATA_DIR, help="dataset folder (default: %(default)s)")
    parser.add_argument("--method", choices=tuple(METHODS), default="dpo", help="loss (default: %(default)s)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key of the configuration, for example preference.beta=0.2; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    """Align, evaluate and return evaluate's exit code: 0 when every gate holds, 1 when one does not."""
    check_model_folder(args.model_path)
    if args.output_dir.exists() and (not args.output_dir.is_dir() or any(args.output_dir.iterdir())):
        raise ConfigError(f"--output_dir {args.output_dir}: is not empty; name a new or an empty folder")
    facts = _run_facts(args.model_path)
    if facts.get("dataset_sha256") != dataset_sha256(args.data_dir):
        raise ConfigError(
            f"--data_dir {args.data_dir}: the model was trained on another dataset; give that one, it is replayed"
        )
    config = parse_run_config(facts.get("config"), str(args.model_path / TRAINING_RUN), parse_overrides(args.set))
    rows = read_preferences(args.feedback_dir, METHODS[args.method])
    facts["alignment"] = {
        "feedback_sha256": feedback_sha256(args.feedback_dir),
        "parent_weights_sha256": weights_sha256(args.model_path),
        "preference": config.to_mapping()["preference"],
    }
    _align(args, config, rows, facts)
    if not is_first_rank():
        return 0
    sys.stderr.write(f"aligned model written to {args.output_dir}; the new weights need a new calibration\n")
    return cli.main(["evaluate", "--model_path", str(args.output_dir), "--data_dir", str(args.data_dir)])


def _run_facts(model_path: Path) -> dict[str, Any]:
    path = model_path / TRAINING_RUN
    if not path.is_file():
        raise ModelFolderError(f"{path} is missing; give a model folder that `promethios train` finished")
    return read_json(path)


def _align(args: argparse.Namespace, config: RunConfig, rows: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    """Train, and write the model folder whole or not at all."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # TRL reports its use otherwise; read at import
    if num_ranks() > 1:
        prepare_process()
    import torch
    from transformers.integrations import unset_hf_deepspeed_config

    from promethios.model.encoding import PromptEncoder
    from promethios.training.packing import encode_targets
    from promethios.training.preferences import align

    encoder = PromptEncoder.load(args.model_path)
    examples = read_examples(split_path(args.data_dir, "train"))
    replay = encode_targets(encoder, examples, config.training.sequence_length)
    args.output_dir.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=args.output_dir.parent, prefix=".align-") as work:
            whole = Path(work) / "model"
            facts["alignment"] |= align(args.model_path, rows, replay, config, args.method, whole)
            if is_first_rank():
                _put(whole, args.output_dir, facts)
    finally:
        unset_hf_deepspeed_config()  # under ZeRO-3 the evaluation would share out its model, too
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # a rank that just exits aborts the others
    gc.collect()  # model, reference and optimizer, before the evaluation loads what came of them
    torch.cuda.empty_cache()


def _put(whole: Path, output_dir: Path, facts: dict[str, Any]) -> None:
    """Complete a model folder and move it to where it belongs."""
    (whole / TRAINING_RUN).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    for path in whole.iterdir():
        path.chmod(0o644)
    if output_dir.exists():
        output_dir.rmdir()
    shutil.move(whole, output_dir)


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
