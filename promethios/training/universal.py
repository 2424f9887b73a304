"""Resume on another number of ranks: DeepSpeed's universal checkpoint.

DeepSpeed writes optimizer states by rank, so they load on as many ranks only. Its own converter (`ds_to_universal`)
makes them one file for each parameter, which load on any number.
"""

from __future__ import annotations

import contextlib
import io
import shutil
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from promethios.checkpoint.manifest import MANIFEST
from promethios.checkpoint.saver import STAGING
from promethios.errors import CheckpointError

if TYPE_CHECKING:
    import torch


def universal_checkpoint(checkpoint: Path, output_dir: Path) -> Path:
    """Return a universal twin of a checkpoint, in the staging folder of `output_dir`; the next save removes it.

    One whose optimizer states are whole (ZeRO stage 0) loads on any number of ranks, and is returned itself. For one
    process of a job. Raises CheckpointError when DeepSpeed cannot convert it.
    """
    from deepspeed.checkpoint import ds_to_universal

    states = next(checkpoint.glob("global_step*"))
    if not any(states.glob("*optim_states.pt")):
        return checkpoint
    twin = output_dir / STAGING / f"universal-{checkpoint.name}"
    shutil.rmtree(twin, ignore_errors=True)
    twin.mkdir(parents=True)
    for path in checkpoint.iterdir():
        if path != states and path.name != MANIFEST:
            (twin / path.name).symlink_to(path.resolve())
    tag = f"{states.name}_universal"
    arguments = Namespace(
        input_folder=str(states),
        output_folder=str(twin / tag),
        num_extract_workers=1,
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,
    )
    try:
        # One line and a bar for each step of the conversion.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            ds_to_universal.main(arguments)
    except (ValueError, AssertionError, KeyError, FileNotFoundError) as error:
        is_muon = isinstance(error, KeyError) and "exp_avg" in str(error)
        reason = "DeepSpeed converts AdamW's states, not Muon's (training.muon_learning_rate)" if is_muon else error
        raise CheckpointError(
            f"{checkpoint} cannot be resumed on another number of ranks: {str(reason)[:200]}; "
            "resume it on as many as wrote it"
        ) from error
    (twin / "latest_universal").write_text(tag, encoding="utf-8")
    return twin


def separate_groups(optimizer: torch.optim.Optimizer, weight_decays: Sequence[float]) -> None:
    """Undo what loading a universal checkpoint under ZeRO 3 makes common to all parameters of an optimizer.

    DeepSpeed 0.19.8 (`load_hp_checkpoint_state_from_checkpoint_dir_stage3`) gives all of them one and the same tensor
    to count steps in, so that each step counts once for every group, and all groups the first one's weight decay.
    weight_decays: of the groups, as they were made.
    """
    for state in optimizer.state.values():
        if "step" in state:
            state["step"] = state["step"].clone()
    for group, weight_decay in zip(optimizer.param_groups, weight_decays, strict=True):
        group["weight_decay"] = weight_decay
