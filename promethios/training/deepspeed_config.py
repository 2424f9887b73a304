"""From our configuration to DeepSpeed's dictionary, in one place."""

from __future__ import annotations

from typing import Any

from promethios.configs.run_config import TrainingSection


def deepspeed_config(training: TrainingSection, *, universal: bool = False) -> dict[str, Any]:
    """Return DeepSpeed's configuration; sizes are "auto", filled in by the Trainer from the same section.

    The optimizer is the Trainer's (torch AdamW, fused, or what `optimizer.py` builds), so one code path serves GPUs
    and CPU and parameter groups without weight decay are kept. With ZeRO-3 the whole weights are gathered at each
    save, so that every checkpoint also loads as an ordinary model folder. universal: resume from a checkpoint of
    another number of ranks, converted.
    """
    zero: dict[str, Any] = {"stage": training.zero_stage}
    if training.zero_stage == 3:
        zero |= {"overlap_comm": True, "contiguous_gradients": True, "stage3_gather_16bit_weights_on_model_save": True}
        if training.muon_learning_rate:
            zero["reduce_scatter"] = False  # Muon needs a matrix's whole gradient
    config: dict[str, Any] = {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "wall_clock_breakdown": False,
        "steps_per_print": 10**9,
    }
    if training.bf16:
        config["bf16"] = {"enabled": True}
    if training.fp16:
        # Loss scale 0 is dynamic scaling, without which fp16 gradients underflow.
        config["fp16"] = {"enabled": True, "loss_scale": 0, "initial_scale_power": 16}
    if universal:
        config["checkpoint"] = {"load_universal": True}
    return config
