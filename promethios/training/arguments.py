"""From our configuration to the Trainer's arguments, in one place."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from transformers import TrainingArguments, set_seed

from promethios.configs.run_config import TrainingSection
from promethios.errors import ConfigError
from promethios.training.deepspeed_config import deepspeed_config


def training_arguments(training: TrainingSection, output_dir: Path, *, universal: bool = False) -> TrainingArguments:
    """Return the Trainer's arguments and seed every random generator; without a GPU everything runs on CPU.

    universal: resume from a universal checkpoint. Raises ConfigError for fp16 on CPU.
    """
    on_cpu = not torch.cuda.is_available()
    if on_cpu and training.fp16:
        raise ConfigError("training.fp16 needs a GPU, and none is here; set training.bf16 or neither")
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(output_dir / "logs" / "tensorboard")
    arguments = TrainingArguments(
        output_dir=str(output_dir),
        num_train_epochs=training.epochs,
        max_steps=training.max_steps or -1,
        per_device_train_batch_size=training.batch_size,
        gradient_accumulation_steps=training.gradient_accumulation_steps,
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.lr_scheduler,
        warmup_steps=training.warmup_ratio,  # below 1: a share of all steps
        weight_decay=training.weight_decay,
        max_grad_norm=0.0 if training.muon_learning_rate else training.max_grad_norm,
        adam_beta2=training.adam_beta2,
        optim="adamw_torch_fused",
        bf16=training.bf16,
        fp16=training.fp16,
        gradient_checkpointing=training.gradient_checkpointing,
        torch_compile=training.torch_compile,
        deepspeed=deepspeed_config(training, universal=universal),
        dataloader_num_workers=training.dataloader_num_workers,
        dataloader_pin_memory=not on_cpu,
        logging_steps=training.logging_steps,
        logging_nan_inf_filter=False,  # a NaN must show
        save_steps=training.save_steps,
        save_total_limit=training.save_total_limit,
        seed=training.seed,
        data_seed=training.seed,
        use_cpu=on_cpu,
        average_tokens_across_devices=False,
        remove_unused_columns=False,  # our batches are not the model's labels
        report_to=["tensorboard"],
        disable_tqdm=True,  # ProgressLog shows the progress
    )
    set_seed(training.seed)
    arguments.distributed_state.wait_for_everyone()  # sets up the process group, which ZeRO-3 needs to make a model
    return arguments
