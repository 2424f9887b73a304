"""One process of a training: torchrun's rank, or the only one."""

from __future__ import annotations

import os
import warnings


def is_first_rank() -> bool:
    """Return whether this process speaks and writes for all."""
    return os.environ.get("RANK", "0") == "0"


def num_ranks() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def prepare_process() -> None:
    """Set what DeepSpeed, tokenizers and a run without torchrun need, before anything reads it."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()  # "Writing model shards" at every save
    # DeepSpeed 0.19.8 still calls the collectives by their old names.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    warnings.filterwarnings("ignore", message="OMP_NUM_THREADS/MKL_NUM_THREADS unset")
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        import deepspeed.ops

        # Shared-memory collectives are compiled at the first start and fail without a C++ compiler; gloo does as well.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    single = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    for name, value in single.items():
        os.environ.setdefault(name, value)
