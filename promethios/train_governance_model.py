"""Train the governance model: Hugging Face Trainer and DeepSpeed, from one YAML file.

    promethios train --config nano --output_dir runs/nano
    torchrun --nproc_per_node=8 -m promethios.train_governance_model --config 8b --output_dir models/governance-8b

The same code runs on GPUs and, with gloo, on CPU. Running the same command again resumes from the newest whole
checkpoint; Ctrl-C or SIGTERM saves one first.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from promethios import __version__
from promethios.checkpoint.manifest import read_manifest
from promethios.checkpoint.saver import CheckpointSaver
from promethios.cli import run_command
from promethios.configs.run_config import RunConfig, TrainingSection, load_run_config, parse_overrides, preset_names
from promethios.data.example import Example, read_examples
from promethios.data.feedback import feedback_sha256, read_supervised
from promethios.data.folder import DEFAULT_DATA_DIR, dataset_sha256, split_path
from promethios.model.folder import TRAINING_RUN
from promethios.training.process import is_first_rank, num_ranks, prepare_process
from promethios.training.stages import StageRun, checkpoint_store, on_as_many_ranks, resume_point, stage_runs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, TrainingArguments

    from promethios.model.encoding import PromptEncoder
    from promethios.training.metrics import TrainingMetrics
    from promethios.training.packing import PackedDataset
    from promethios.training.trainer import GovernanceTrainer


class TrainingData(NamedTuple):
    """What is learned from: the split `train`, pairs for the losses on twins, pairs whose decision hangs on one thing,
    reviewed answers and their weights."""

    examples: list[Example]
    pairs: list[Example]
    contrasts: list[Example]
    reviewed: list[Example]
    review_weights: list[float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--config", default="nano", help=f"YAML file, or a preset: {', '.join(preset_names())}")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for the model, checkpoints and logs")
    parser.add_argument("--data_dir", type=Path, default=DEFAULT_DATA_DIR, help="dataset folder (default: %(default)s)")
    parser.add_argument(
        "--feedback_dir", type=Path, help="reviewers' feedback to learn from, too (promethios feedback)"
    )
    parser.add_argument(
        "--resume_from_checkpoint",
        default="latest",
        metavar="PATH",
        help="a checkpoint folder, latest (the newest whole one in output_dir, if any; default) or none",
    )
    parser.add_argument(
        "--checkpoint_store",
        metavar="URL",
        help="keep the checkpoints in an object store, too: s3://bucket/prefix; credentials from the environment",
    )
    parser.add_argument(
        "--checkpoint_staging",
        type=Path,
        metavar="DIR",
        help="fast local folder that saves are written to first, so that training waits less (default: in output_dir)",
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
    if "TORCHELASTIC_ERROR_FILE" not in os.environ:
        return _run(args)
    from torch.distributed.elastic.multiprocessing.errors import record

    return record(_run)(args) or 0  # torchrun reads there what a rank failed with


def _run(args: argparse.Namespace) -> int:
    config = load_run_config(args.config, parse_overrides(args.set))
    train_file = split_path(args.data_dir, "train")
    facts = {"dataset_sha256": dataset_sha256(args.data_dir), "config": config.to_mapping()}
    if args.feedback_dir:
        facts["feedback_sha256"] = feedback_sha256(args.feedback_dir)
    stages = stage_runs(config, args.output_dir)
    if args.resume_from_checkpoint == "latest" and _is_trained(args.output_dir, facts):
        _say(f"{args.output_dir} is trained already, on this data and with this configuration")
        return 0
    if args.checkpoint_store:
        checkpoint_store(args.checkpoint_store, stages[-1], stages)  # a mistake in the URL, before anything is loaded
    data = TrainingData(
        read_examples(train_file),
        _read_pairs(args.data_dir / "train_pairs.jsonl"),
        _read_pairs(args.data_dir / "train_contrasts.jsonl"),
        *(read_supervised(args.feedback_dir) if args.feedback_dir else ([], [])),
    )
    prepare_process()
    import torch

    from promethios.training.arguments import training_arguments
    from promethios.training.first_rank import on_first_rank

    training_arguments(stages[0].training, stages[0].folder)  # sets up the process group
    try:
        first, checkpoint = on_first_rank(
            lambda: resume_point(args.resume_from_checkpoint, stages, facts, _say, args.checkpoint_store)
        )
        if checkpoint:
            _say(f"resuming from {checkpoint}")
        metrics = _metrics(args.config, config, facts)
        for stage in stages[first:]:
            if len(stages) > 1:
                _say(f"{stage.name}:")
            saver = _saver(args, stage, stages, metrics)
            code = _train(
                config, data, stage, checkpoint, facts | {"stage": stage.name}, metrics, saver, args.output_dir
            )
            if code:
                return code
            checkpoint = None
            gc.collect()  # the stage's model and optimizer, before the next one's are made
            torch.cuda.empty_cache()
        _say(f"model written to {args.output_dir}; next: promethios evaluate --model_path {args.output_dir}")
        return 0
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()  # a rank that just exits aborts the others


def _is_trained(output_dir: Path, facts: dict[str, Any]) -> bool:
    """True when the folder holds the result of these facts: a pod may be stopped after training, in evaluation."""
    path = output_dir / TRAINING_RUN
    recorded = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return all(recorded.get(name) == facts.get(name) for name in ("config", "dataset_sha256", "feedback_sha256"))


def _metrics(name: str, config: RunConfig, facts: dict[str, Any]) -> TrainingMetrics:
    """Return the metrics of this training, served by the first rank where PROMETHIOS_METRICS_PORT is set."""
    import torch

    from promethios.training.metrics import TrainingMetrics

    metrics = TrainingMetrics()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    metrics.info.labels(name, facts["dataset_sha256"], __version__, str(num_ranks()), device).set(1)
    port = os.environ.get("PROMETHIOS_METRICS_PORT")
    if port and is_first_rank():
        metrics.serve(port)
    return metrics


def _read_pairs(path: Path) -> list[Example]:
    """Return a split's pairs; none where the dataset does not have it: one of somebody else's need not."""
    return read_examples(path) if path.is_file() else []


def _train(
    config: RunConfig,
    data: TrainingData,
    stage: StageRun,
    checkpoint: Path | None,
    facts: dict[str, Any],
    metrics: TrainingMetrics,
    saver: CheckpointSaver,
    run_folder: Path,
) -> int:
    # Imported here: torch and DeepSpeed read the environment that prepare_process sets.
    from promethios.model.build import count_parameters
    from promethios.model.encoding import PromptEncoder
    from promethios.training.arguments import training_arguments
    from promethios.training.contrasts import draw_contrasts
    from promethios.training.counterfactuals import add_counterfactuals
    from promethios.training.first_rank import on_first_rank
    from promethios.training.headers import draw_headers
    from promethios.training.metrics import flops_per_sequence
    from promethios.training.new_model import prepare_backbone
    from promethios.training.noise import add_noise
    from promethios.training.packing import PackedDataset, encode_targets
    from promethios.training.precision import in_format_of, in_usable_format
    from promethios.training.progress import MetricsCallback, ProgressLog, StopOnSignal
    from promethios.training.universal import universal_checkpoint

    world_size = num_ranks()
    written = checkpoint
    stage = in_usable_format(stage, _say) if written is None else in_format_of(stage, written)
    if written is not None and read_manifest(written)["world_size"] != world_size:
        stage = on_as_many_ranks(stage, written, world_size)
        checkpoint = on_first_rank(lambda: universal_checkpoint(written, stage.folder))
    training = stage.training
    # Seeds every generator, so before the model is made.
    arguments = training_arguments(training, stage.folder, universal=checkpoint != written)
    if stage.backbone is not None:
        prepare_backbone(config.model, stage, anew=checkpoint is None)
    encoder = PromptEncoder(_tokenizer(config, data, stage))
    targets = add_counterfactuals(
        encoder,
        data.examples,
        encode_targets(
            encoder,
            data.examples,
            training.sequence_length,
            response_share=training.response_share,
            self_question_share=training.self_question_share,
        ),
        data.pairs,
        share=training.counterfactual_share,
        sequence_length=training.sequence_length,
        seed=training.seed,
    )
    example_tokens = sum(len(target.encoded.ids) for target in targets if target.values is not None)
    targets += draw_contrasts(
        encoder,
        data.contrasts,
        num_tokens=training.contrast_share * example_tokens,
        sequence_length=training.sequence_length,
        seed=training.seed,
    )
    targets = add_noise(encoder, targets, share=training.noise_share, seed=training.seed)
    targets += draw_headers(
        encoder, data.examples, num_tokens=training.header_share * example_tokens, seed=training.seed
    )
    targets += encode_targets(encoder, data.reviewed, training.sequence_length, data.review_weights)
    dataset = PackedDataset(targets, training.sequence_length)
    sequences_per_step = arguments.train_batch_size * training.gradient_accumulation_steps * arguments.world_size
    tokens_per_step = sequences_per_step * dataset.num_tokens / len(dataset)
    stop = StopOnSignal()
    trainer = _trainer(
        config,
        data,
        stage,
        encoder,
        dataset,
        args=arguments,
        callbacks=[
            MetricsCallback(
                metrics,
                run_folder,
                stage.folder,
                tokens_per_step=tokens_per_step,
                flops_per_step=sequences_per_step
                * flops_per_sequence(
                    config.model,
                    stage.train,
                    stage.lora_rank,
                    sequence_length=training.sequence_length,
                    predicted_share=dataset.num_predicted / (len(dataset) * training.sequence_length),
                ),
                peak=_peak(training, arguments.world_size),
            ),
            ProgressLog(stage.folder / "logs", tokens_per_step),
            stop,
        ],
        facts=facts,
        saver=saver,
    )
    parameters = count_parameters(config.model)["total"]
    _say(
        f"{parameters:,} parameters, {len(data.examples) + len(data.reviewed):,} examples, {dataset.num_tokens:,}"
        f" tokens in {len(dataset):,} packs of {training.sequence_length}, {arguments.world_size} rank(s)"
    )
    stop.install()
    result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    saver.close()
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
    return 0


def _saver(
    args: argparse.Namespace, stage: StageRun, stages: Sequence[StageRun], metrics: TrainingMetrics
) -> CheckpointSaver:
    """Return what completes a stage's checkpoints; torchrun tells which node of how many this is."""
    return CheckpointSaver(
        stage.folder,
        keep=stage.training.save_total_limit,
        listener=metrics,
        say=_say,
        store=checkpoint_store(args.checkpoint_store, stage, stages),
        staging=args.checkpoint_staging,
        node_rank=int(os.environ.get("GROUP_RANK", "0")),
        num_nodes=int(os.environ.get("GROUP_WORLD_SIZE", "1")),
    )


def _peak(training: TrainingSection, world_size: int) -> float | None:
    """Return the 16-bit peak of all accelerators together; None on CPU, in fp32, and where it is not known."""
    import torch

    from promethios.training.metrics import peak_flops

    if not torch.cuda.is_available() or not (training.bf16 or training.fp16):
        return None
    peak = peak_flops(torch.cuda.get_device_name())
    return peak and peak * world_size


def _tokenizer(config: RunConfig, data: TrainingData, stage: StageRun) -> PreTrainedTokenizerFast:
    """Return the backbone's tokenizer, or one trained on the texts."""
    from promethios.model.encoding import PromptEncoder
    from promethios.model.tokenizer import train_tokenizer

    if stage.backbone is not None:
        return PromptEncoder.load(stage.backbone).tokenizer
    texts = (
        text
        for example in data.examples
        for text in (*(message["content"] for message in example.messages), *example.self_questions)
    )
    return train_tokenizer(texts, config.model.vocab_size)


def _trainer(
    config: RunConfig,
    data: TrainingData,
    stage: StageRun,
    encoder: PromptEncoder,
    dataset: PackedDataset,
    *,
    args: TrainingArguments,
    **kwargs: Any,
) -> GovernanceTrainer:
    """Return the trainer of a stage, with its model and, beside a backbone, the loss that preserves it."""
    from promethios.training.new_model import stage_model
    from promethios.training.packing import PackCollator
    from promethios.training.preservation import PreservingTrainer, beside, reference
    from promethios.training.trainer import GovernanceTrainer

    model = stage_model(config.model, stage, encoder.tokenizer, args.hf_deepspeed_config.config)
    collator = PackCollator(stage.training.sequence_length, encoder.tokenizer.pad_token_id)
    kwargs |= {
        "model": model,
        "args": args,
        "processing_class": encoder.tokenizer,
        "loss_weights": stage.training.loss_weights,
        "decision_loss": stage.training.decision_loss,
        "domain_moves_model": stage.training.domain_moves_model,
        "muon_learning_rate": stage.training.muon_learning_rate,
    }
    preservation = stage.training.preservation
    if stage.backbone is None or preservation is None or preservation.weight == 0:
        return GovernanceTrainer(train_dataset=dataset, data_collator=collator, **kwargs)
    chats, chat_collator = beside(dataset, collator, encoder, preservation, data.examples)
    return PreservingTrainer(
        train_dataset=chats,
        data_collator=chat_collator,
        backbone=reference(stage, model),
        weight=preservation.weight,
        **kwargs,
    )


def _say(text: str) -> None:
    """Tell it once, not once a rank."""
    if is_first_rank():
        sys.stderr.write(text + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
