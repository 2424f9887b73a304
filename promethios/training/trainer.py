"""Hugging Face's Trainer with our objective and with checkpoints that are whole or absent."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import Trainer
from transformers.trainer_callback import PrinterCallback

from promethios.checkpoint.manifest import checkpoints, write_manifest
from promethios.configs.run_config import LossWeights
from promethios.errors import CheckpointError, TrainingError
from promethios.model.folder import TRAINING_RUN
from promethios.training.objective import governance_losses, weighted_sum

STAGING: Final = ".staging"
# What a full disk, a file-size limit or a lost volume raises from Python, torch and safetensors.
WRITE_ERRORS: Final = (OSError, RuntimeError, SafetensorError)


class GovernanceTrainer(Trainer):
    """Trainer for PackCollator's batches.

    decision_loss: a name of objective.DECISION_LOSSES. facts: what every checkpoint's manifest records about the run.
    """

    def __init__(
        self, *, loss_weights: LossWeights, decision_loss: str = "soft_label", facts: dict[str, Any], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.remove_callback(PrinterCallback)  # ProgressLog prints
        self.loss_is_scaled_for_ga = False
        self.loss_weights = loss_weights
        self.decision_loss = decision_loss
        self.facts = facts
        self.staging: Path | None = None
        self._loss_sums: dict[str, torch.Tensor] = {}
        self._num_losses = 0

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the weighted loss of one micro batch; the parts are kept for the next log line."""
        outputs = model(
            input_ids=inputs["input_ids"],
            position_ids=inputs["position_ids"],
            logit_index=inputs["logit_index"],
            score_index=inputs["score_index"],
            use_cache=False,
        )
        losses = governance_losses(outputs.logits, outputs.governance_scores, inputs, self.decision_loss)
        self.record(losses)
        self._num_losses += 1
        loss = weighted_sum(losses, self.loss_weights)
        return (loss, outputs) if return_outputs else loss

    def record(self, losses: Mapping[str, torch.Tensor]) -> None:
        """Add parts of this micro batch's loss to the next log line."""
        for name, loss in losses.items():
            self._loss_sums[name] = self._loss_sums.get(name, 0) + loss.detach()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the parts of the loss (of this rank) to the Trainer's log entry. Raises TrainingError on NaN."""
        if not math.isfinite(logs.get("loss", 0.0)):
            kept = [path.name for path in checkpoints(Path(str(self.args.output_dir)))]
            raise TrainingError(
                f"the loss is {logs['loss']} at step {self.state.global_step}; lower training.learning_rate, or resume "
                f"from an earlier checkpoint ({', '.join(kept) or 'none yet'}) with --resume_from_checkpoint"
            )
        if "loss" in logs and self._num_losses:
            logs |= {f"loss_{name}": (total / self._num_losses).item() for name, total in self._loss_sums.items()}
            self._loss_sums, self._num_losses = {}, 0
        super().log(logs, start_time)

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.staging) if self.staging else str(super()._get_output_dir(trial))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint under a staging name, its manifest last, then rename it into place."""
        output_dir = Path(str(self.args.output_dir))
        name = f"checkpoint-{self.state.global_step}"
        self.staging = output_dir / STAGING
        if self.args.should_save:
            shutil.rmtree(self.staging, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self._commit(self.staging / name, output_dir / name)
        except WRITE_ERRORS as error:
            shutil.rmtree(self.staging, ignore_errors=True)
            kept = [path.name for path in checkpoints(output_dir)]
            raise CheckpointError(
                f"{name} could not be written to {output_dir}: {' '.join(str(error).split())[:200]}; "
                f"kept intact: {', '.join(kept) or 'nothing'}. Free space, then run the same command to resume"
            ) from error
        finally:
            self.staging = None
        self.accelerator.wait_for_everyone()

    def save_final(self, facts: dict[str, Any]) -> None:
        """Write the trained model into the output folder and the facts of the run as `training_run.json`."""
        output_dir = Path(str(self.args.output_dir))
        staging = output_dir / STAGING
        try:
            self.save_model(str(staging), _internal_call=True)
            if self.args.should_save:
                (staging / "training_args.bin").unlink()  # a pickle; training_run.json says the same, readably
                (staging / TRAINING_RUN).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
                for path in sorted(staging.iterdir()):
                    path.chmod(0o644)  # safetensors writes 0600, which a server under another user cannot read
                    path.replace(output_dir / path.name)
                staging.rmdir()
        except WRITE_ERRORS as error:
            shutil.rmtree(staging, ignore_errors=True)
            raise CheckpointError(
                f"the model could not be written to {output_dir}: {' '.join(str(error).split())[:200]}; "
                "free space, then run the same command: it resumes from the last checkpoint"
            ) from error
        self.accelerator.wait_for_everyone()

    def _commit(self, staged: Path, final: Path) -> None:
        write_manifest(staged, {"step": self.state.global_step, "world_size": self.args.world_size, **self.facts})
        shutil.rmtree(final, ignore_errors=True)  # only a damaged one, passed over on resume, can stand here
        staged.replace(final)
        staged.parent.rmdir()
        _fsync_folder(final.parent)
        for old in checkpoints(final.parent)[: -(self.args.save_total_limit or 1)]:
            shutil.rmtree(old)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
