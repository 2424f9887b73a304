"""Hugging Face's Trainer with our objective and with checkpoints that are whole or absent."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import Trainer
from transformers.trainer_callback import PrinterCallback

from promethios.checkpoint.manifest import checkpoints
from promethios.checkpoint.saver import STAGING, CheckpointSaver
from promethios.configs.run_config import LossWeights
from promethios.errors import CheckpointError, TrainingError
from promethios.model.folder import TRAINING_RUN
from promethios.training.objective import governance_losses, weighted_sum
from promethios.training.optimizer import muon_and_adamw
from promethios.training.universal import separate_groups

# What a full disk, a file-size limit or a lost volume raises from Python, safetensors and torch.
WRITE_ERRORS: Final = (OSError, SafetensorError, RuntimeError)


class GovernanceTrainer(Trainer):
    """Trainer for PackCollator's batches.

    decision_loss: a name of objective.DECISION_LOSSES. domain_moves_model, muon_learning_rate: as in the configuration.
    facts: what every checkpoint's manifest records about the run. saver: completes the checkpoints; used on the first
    process of each node.
    """

    def __init__(
        self,
        *,
        loss_weights: LossWeights,
        decision_loss: str = "soft_label",
        domain_moves_model: bool = False,
        muon_learning_rate: float | None = None,
        facts: dict[str, Any],
        saver: CheckpointSaver,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.remove_callback(PrinterCallback)  # ProgressLog prints
        self.loss_is_scaled_for_ga = False
        self.loss_weights = loss_weights
        self.decision_loss = decision_loss
        self.domain_moves_model = domain_moves_model
        self.muon_learning_rate = muon_learning_rate
        self.facts = facts
        self.saver = saver
        self._stages_to: Path | None = None
        self._loss_sums: dict[str, torch.Tensor] = {}
        self._num_losses = 0

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Return the optimizer: AdamW, or Muon and AdamW."""
        if self.muon_learning_rate is not None:
            model = self.model if model is None else model
            decayed = self.get_decay_parameter_names(model)
            self.optimizer = muon_and_adamw(model, self.args, self.muon_learning_rate, decayed)
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)  # which makes none where one is
        self._weight_decays = [group["weight_decay"] for group in optimizer.param_groups]
        return optimizer

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        # DeepSpeed has loaded its states already: before, and not in the line above.
        if checkpoint and self.args.hf_deepspeed_config.is_true("checkpoint.load_universal"):
            separate_groups(self.optimizer, self._weight_decays)

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
            request_index=inputs["request_index"],
            evidence_index=inputs["evidence_index"],
            telemetry_index=inputs["telemetry_index"],
            domain_moves_model=self.domain_moves_model,
            use_cache=False,
        )
        losses = governance_losses(
            outputs.logits,
            outputs.governance_scores,
            inputs,
            self.decision_loss,
            outputs.domain_logits,
            outputs.request_logits,
            outputs.evidence_logits,
            outputs.telemetry_logits,
        )
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

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Run an epoch, but none after the last step: resumed there in mid epoch, the Trainer would do one more."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._stages_to or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write this step's states into the staging folder; the saver makes them a checkpoint beside the training.

        A single process that cannot write goes on without this checkpoint. One of many cannot: the others wait for it
        in a collective. Raises CheckpointError then.
        """
        started = time.monotonic()
        step = self.state.global_step
        if self.args.local_process_index == 0:
            self.saver.stage(step)
        self.accelerator.wait_for_everyone()
        self._stages_to = self.saver.staging
        try:
            super()._save_checkpoint(model, trial)
        except WRITE_ERRORS as error:
            if not _is_of_writing(error):
                raise
            self.saver.abandon(step, error)
            if self.args.world_size > 1:
                self.saver.close()
            return
        finally:
            self._stages_to = None
        self.accelerator.wait_for_everyone()
        if self.args.local_process_index == 0:
            self.saver.complete(step, self._manifest_facts(), blocking_seconds=time.monotonic() - started)

    def _manifest_facts(self) -> dict[str, Any]:
        """What resuming needs to know before it loads anything. The random generators' states are files."""
        arguments = self.args
        sequences = arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
        return {
            "world_size": arguments.world_size,
            "sequences_per_step": sequences,
            "bf16": arguments.bf16,
            "data_position": {"epoch": self.state.epoch, "sequences": self.state.global_step * sequences},
            **self.facts,
        }

    def save_final(self, facts: dict[str, Any]) -> None:
        """Write the trained model into the output folder and the facts of the run as `training_run.json`."""
        output_dir = Path(str(self.args.output_dir))
        staging = output_dir / STAGING / "model"
        try:
            self.save_model(str(staging), _internal_call=True)
            if self.args.should_save:
                (staging / "training_args.bin").unlink()  # a pickle; training_run.json says the same, readably
                (staging / TRAINING_RUN).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
                # The facts last: where they stand, everything does.
                for path in sorted(staging.iterdir(), key=lambda path: path.name == TRAINING_RUN):
                    path.chmod(0o644)  # safetensors writes 0600, which a server under another user cannot read
                    path.replace(output_dir / path.name)
                shutil.rmtree(staging.parent)
        except WRITE_ERRORS as error:
            if not _is_of_writing(error):
                raise
            shutil.rmtree(staging, ignore_errors=True)
            raise CheckpointError(
                f"the model could not be written to {output_dir}: {' '.join(str(error).split())[:200]}; "
                "free space, then run the same command: it resumes from the last checkpoint"
            ) from error
        self.accelerator.wait_for_everyone()


def _is_of_writing(error: Exception) -> bool:
    """True for an error of the storage; a lost peer in a collective is a RuntimeError, too, and no full disk."""
    return not isinstance(error, RuntimeError) or "inline_container" in str(error)  # torch's writer of zip files
