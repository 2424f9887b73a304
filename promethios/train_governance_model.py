"""Train the governance model: Hugging Face Trainer and DeepSpeed, from one YAML file.

    promethios train --config nano --output_dir runs/nano
    torchrun --nproc_per_node=8 -m promethios.train_governance_model --config 8b --output_dir models/governance-8b

The same code runs on GPUs and, with gloo, on CPU. Running the same command again resumes from the newest whole
checkpoint; Ctrl-C or SIGTERM saves one first.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promethios.checkpoint.manifest import newest_verified, read_manifest, verify
from promethios.cli import run_command
from promethios.configs.run_config import RunConfig, load_run_config, preset_names
from promethios.data.example import Example, read_examples
from promethios.data.folder import DEFAULT_DATA_DIR, dataset_sha256, split_path
from promethios.errors import CheckpointError, ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--config", default="nano", help=f"YAML file, or a preset: {', '.join(preset_names())}")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for the model, checkpoints and logs")
    parser.add_argument("--data_dir", type=Path, default=DEFAULT_DATA_DIR, help="dataset folder (default: %(default)s)")
    parser.add_argument(
        "--resume_from_checkpoint",
        default="latest",
        metavar="PATH",
        help="a checkpoint folder, latest (the newest whole one in output_dir, if any; default) or none",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key of the configuration, for example training.max_steps=50; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    """Train and return the exit code: 0 when done, 128 + signal number when stopped by a signal after saving."""
    config = load_run_config(args.config, _overrides(args.set))
    train_file = split_path(args.data_dir, "train")
    facts = {"dataset_sha256": dataset_sha256(args.data_dir), "config": config.to_mapping()}
    checkpoint = _checkpoint_to_resume(args.resume_from_checkpoint, args.output_dir, facts)
    examples = read_examples(train_file)
    _prepare_process()
    import torch

    try:
        return _train(config, examples, args.output_dir, checkpoint, facts)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # a rank that just exits aborts the others


def _overrides(pairs: Sequence[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise ConfigError(f"--set {pair}: give section.key=value, for example training.max_steps=50")
    return dict(pair.split("=", 1) for pair in pairs)


def _checkpoint_to_resume(choice: str, output_dir: Path, facts: dict[str, Any]) -> Path | None:
    """Return the verified checkpoint to resume. Raises CheckpointError when it is damaged or of another run."""
    if choice == "none":
        return None
    if choice == "latest":
        checkpoint, reasons = newest_verified(output_dir)
        for reason in reasons:
            _say(f"passed over: {reason}")
        if checkpoint is None:
            return None
    else:
        checkpoint = Path(choice)
        if not checkpoint.is_dir():
            raise CheckpointError(
                f"--resume_from_checkpoint {choice}: no such folder; give a checkpoint, latest or none"
            )
        verify(checkpoint)
    manifest = read_manifest(checkpoint)
    if manifest.get("dataset_sha256") != facts["dataset_sha256"]:
        raise CheckpointError(f"{checkpoint} was trained on other data; give that --data_dir, or another --output_dir")
    if manifest.get("config", {}).get("model") != facts["config"]["model"]:
        raise CheckpointError(f"{checkpoint} has another model section; give that --config, or another --output_dir")
    _say(f"resuming from {checkpoint}")
    return checkpoint


def _prepare_process() -> None:
    """Set what DeepSpeed, tokenizers and a run without torchrun need, before anything reads it."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()  # "Writing model shards" at every save
    # DeepSpeed 0.19.8 still calls the collectives by their old names.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        import deepspeed.ops

        # Shared-memory collectives are compiled at the first start and fail without a C++ compiler; gloo does as well.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    single = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    for name, value in single.items():
        os.environ.setdefault(name, value)


def _train(
    config: RunConfig, examples: list[Example], output_dir: Path, checkpoint: Path | None, facts: dict[str, Any]
) -> int:
    # Imported here: torch and DeepSpeed read the environment that _prepare_process sets.
    from promethios.model.build import count_parameters, sentinel_config
    from promethios.model.encoding import PromptEncoder
    from promethios.model.tokenizer import train_tokenizer
    from promethios.training.arguments import training_arguments
    from promethios.training.new_model import new_model
    from promethios.training.packing import PackCollator, PackedDataset, encode_targets
    from promethios.training.progress import ProgressLog, StopOnSignal
    from promethios.training.trainer import GovernanceTrainer

    training = config.training
    tokenizer = train_tokenizer(
        (message["content"] for example in examples for message in example.messages), config.model.vocab_size
    )
    targets = encode_targets(PromptEncoder(tokenizer), examples, training.sequence_length)
    dataset = PackedDataset(targets, training.sequence_length)
    arguments = training_arguments(training, output_dir)  # seeds every generator, so before the model is made
    sequences_per_step = arguments.train_batch_size * training.gradient_accumulation_steps * arguments.world_size
    model = new_model(sentinel_config(config.model, tokenizer), arguments.hf_deepspeed_config.config)
    stop = StopOnSignal()
    trainer = GovernanceTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        data_collator=PackCollator(training.sequence_length, tokenizer.pad_token_id),
        processing_class=tokenizer,
        callbacks=[ProgressLog(output_dir / "logs", sequences_per_step * dataset.num_tokens / len(dataset)), stop],
        loss_weights=training.loss_weights,
        facts=facts,
    )
    parameters = count_parameters(config.model)["total"]
    _say(
        f"{parameters:,} parameters, {len(examples):,} examples, {dataset.num_tokens:,} tokens in"
        f" {len(dataset):,} packs of {training.sequence_length}, {arguments.world_size} rank(s)"
    )
    stop.install()
    result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if stop.received:
        step = trainer.state.global_step
        _say(f"saved and stopped by signal {stop.received} at step {step}; run the same command to resume")
        return 128 + stop.received
    trainer.save_final(
        {
            **facts,
            "steps": trainer.state.global_step,
            "epochs": trainer.state.epoch,
            "tokens_per_epoch": dataset.num_tokens,
            "train_loss": result.training_loss,
            "train_seconds": result.metrics["train_runtime"],
            "world_size": arguments.world_size,
        }
    )
    _say(f"model written to {output_dir}; next: promethios evaluate --model_path {output_dir}")
    return 0


def _say(text: str) -> None:
    """Tell it once, not once a rank."""
    if os.environ.get("RANK", "0") == "0":
        sys.stderr.write(text + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
