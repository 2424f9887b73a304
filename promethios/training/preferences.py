"""Alignment with reviewers' preferences: TRL's DPO and KTO on responses that follow prompt, header and decision.

TRL tokenises the texts of a dataset itself and has no switch for ids that stand already. Our prompts end in header ids
that no text can produce, so the ids go beside the texts in columns of their own, and the data collator, TRL's public
hook for what a batch is, takes those. Two more things differ from plain TRL, both in public methods: original examples
are replayed with the whole training loss in every batch, which keeps decisions and scores where they were, and rows
are repeated by their weight, since TRL's losses take none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from datasets import Dataset
from torch import nn
from transformers import AutoModelForCausalLM, TrainingArguments
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference, KTOTrainer

from promethios.configs.run_config import LossWeights, RunConfig
from promethios.data.draws import uniforms
from promethios.errors import ConfigError
from promethios.model.encoding import EncodedExample, PromptEncoder
from promethios.model.governance_sentinel_8b import UNREACHABLE, PromethiosForCausalLM
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.state import GovernanceState
from promethios.training.deepspeed_config import deepspeed_config
from promethios.training.objective import governance_losses, weighted_sum
from promethios.training.packing import PackCollator, Target, pack
from promethios.training.precision import computes_in_bf16
from promethios.training.process import is_first_rank, num_ranks

LEARNING_RATE_FACTOR: Final = 0.1
PROMPT: Final = "governed_prompt"
REPLAY: Final = "replay"
_BIAS: Final = "lm_head.bias"
_TEXTS: Final = {"dpo": ("chosen", "rejected"), "kto": ("completion",)}


class _ReplayMixin:
    """Adds the training loss on replayed examples to a preference loss."""

    replay_weights: LossWeights
    decision_loss: str

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the preference loss plus the weighted training loss of the batch's replayed examples."""
        replayed = inputs.pop(REPLAY, None)
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[misc]
        if replayed is None:
            return loss
        names = ("input_ids", "position_ids", "logit_index", "score_index", "request_index")
        outputs = model(**{name: replayed[name] for name in names}, use_cache=False)
        losses = governance_losses(
            outputs.logits,
            outputs.governance_scores,
            replayed,
            self.decision_loss,
            outputs.domain_logits,
            outputs.request_logits,
        )
        return loss + weighted_sum(losses, self.replay_weights)


class GovernedDPOTrainer(_ReplayMixin, DPOTrainer):
    """Direct preference optimisation (arXiv 2305.18290) with replay."""


class GovernedKTOTrainer(_ReplayMixin, KTOTrainer):
    """Kahneman-Tversky optimisation (arXiv 2402.01306) with replay."""


@dataclasses.dataclass(frozen=True)
class PreferenceCollator:
    """Turn rows of `preference_dataset` into a batch of TRL's, with the replayed examples under "replay".

    replay: what may be replayed, at least one in each batch; empty where nothing is. anchor: weight of the language
    loss of a desirable KTO completion; DPO's stands in its own loss.
    """

    method: str
    replay: Sequence[Target]
    packs: PackCollator
    anchor: float

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the batch."""
        ids = [
            {"prompt_ids": row[PROMPT], **{f"{name}_ids": row[f"governed_{name}"] for name in _TEXTS[self.method]}}
            for row in rows
        ]
        targets = [self.replay[index] for row in rows for index in row[REPLAY]]
        if self.method == "dpo":
            batch = DataCollatorForPreference(pad_token_id=self.packs.pad_id)(ids)
        else:
            # KTO's reference point: the same completions, each behind another row's prompt.
            for index, row in enumerate(rows):
                ids[index] |= {"KL_completion_ids": ids[index - 1]["completion_ids"], "label": row["label"]}
            batch = DataCollatorForUnpairedPreference(pad_token_id=self.packs.pad_id)(ids)
            targets += [self._anchor(row, self.anchor) for row in rows if row["label"] and self.anchor]
        targets = targets or self._least(rows)
        if targets:
            batch[REPLAY] = self.packs(pack(targets, self.packs.sequence_length))
        return dict(batch)

    def _least(self, rows: Sequence[Mapping[str, Any]]) -> list[Target]:
        """Return what a batch holds that happens to have nothing: all ranks have to run the same backward pass."""
        if self.replay:
            return [self.replay[len(rows[0][PROMPT]) % len(self.replay)]]
        return [self._anchor(rows[0], 0.0)] if self.method == "kto" and self.anchor else []

    def _anchor(self, row: Mapping[str, Any], weight: float) -> Target:
        prompt = row[PROMPT]  # ends with the decision
        return Target(EncodedExample(prompt + row["governed_completion"], len(prompt) - 2), None, weight=weight)


def preference_dataset(
    encoder: PromptEncoder,
    rows: Sequence[Mapping[str, Any]],
    method: str,
    *,
    num_replay: int,
    replay_share: float,
    sequence_length: int,
    seed: int,
) -> Dataset:
    """Return the rows of a feedback folder for TRL, in random order, with our ids and the examples to replay.

    A row stands in it `weight` times, rounded up or down so that the total stays (systematic resampling). num_replay:
    how many examples there are to replay. Raises ConfigError for a row that is longer than a sequence.
    """
    weights = np.array([row["weight"] for row in rows])
    points = (np.arange(len(rows)) + 0.5) / len(rows)
    chosen = np.searchsorted(np.cumsum(weights) / weights.sum(), points)
    chosen = chosen[uniforms(1, len(rows), "preferences", seed, "order")[0].argsort(kind="stable")]
    replayed = uniforms(1, num_replay, "preferences", seed, "replay")[0].argsort(kind="stable")
    a_row = replay_share / (1.0 - replay_share) if num_replay else 0.0
    ends = [round(a_row * count) for count in range(len(rows) + 1)]
    dataset = []
    for place, index in enumerate(chosen.tolist()):
        row = _encoded(encoder, rows[index], method)
        longest = len(row[PROMPT]) + max(len(row[f"governed_{name}"]) for name in _TEXTS[method])
        if longest > sequence_length:
            raise ConfigError(
                f"a reviewed answer has {longest} tokens, more than training.sequence_length"
                f" {sequence_length}; raise it"
            )
        row[REPLAY] = [int(replayed[i % num_replay]) for i in range(ends[place], ends[place + 1])]
        dataset.append(row)
    return Dataset.from_list(dataset)


def align(
    model_path: Path,
    rows: Sequence[Mapping[str, Any]],
    replay: Sequence[Target],
    config: RunConfig,
    method: str,
    output_dir: Path,
) -> dict[str, Any]:
    """Train the model in `model_path` on preferences, write it with its tokenizer, return the facts of the run.

    rows: of the feedback folder's file for the method, "dpo" or "kto". replay: original training examples. output_dir:
    a new folder. The reference is the model before. Of several ranks all call this, and the first one writes; DeepSpeed
    shares out among them what `training.zero_stage` says.
    """
    encoder = PromptEncoder.load(model_path)
    training, preference = config.training, config.preference
    arguments = _arguments(config, method, rows, output_dir)
    arguments.distributed_state.wait_for_everyone()  # sets up the process group, which ZeRO-3 needs to load a model
    if arguments.deepspeed is not None:
        import deepspeed

        deepspeed.init_distributed()  # takes it over
    dataset = preference_dataset(
        encoder,
        rows,
        method,
        num_replay=len(replay),
        replay_share=preference.replay_share,
        sequence_length=training.sequence_length,
        seed=training.seed,
    )
    model, reference = _load(model_path), _load(model_path)
    trainer_class = GovernedDPOTrainer if method == "dpo" else GovernedKTOTrainer
    packs = PackCollator(training.sequence_length, encoder.tokenizer.pad_token_id)
    trainer = trainer_class(
        model=model,
        ref_model=reference,
        args=arguments,
        train_dataset=dataset,
        data_collator=PreferenceCollator(method, replay if preference.replay_share else (), packs, preference.anchor),
        processing_class=encoder.tokenizer,
    )
    trainer.replay_weights = training.loss_weights
    trainer.decision_loss = training.decision_loss
    result = trainer.train()
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # of ZeRO-3, gathered on the first rank
    if is_first_rank():
        model.lm_head.register_parameter("bias", None)
        model.save_pretrained(output_dir, state_dict={name: weights[name] for name in weights if name != _BIAS})
        encoder.tokenizer.save_pretrained(output_dir)
    return {
        "method": method,
        "preferences": len(rows),
        "replayed": sum(len(indices) for indices in dataset[REPLAY]),
        "steps": trainer.state.global_step,
        "train_loss": result.training_loss,
        "train_seconds": result.metrics["train_runtime"],
    }


def _encoded(encoder: PromptEncoder, row: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Return a row with the ids of prompt, header and decision, and of each text with its end of turn."""
    governance = row["governance"]
    state = None if governance["state"] is None else GovernanceState.from_mapping(governance["state"])
    domain = load_ontology().domain(governance["domain"]).header if governance["domain"] else None
    prompt = encoder.prompt(row["prompt"], state, domain)
    encoded: dict[str, Any] = {"prompt": row["prompt"], PROMPT: [*prompt, encoder.reserved.decision(row["decision"])]}
    for name in _TEXTS[method]:
        text = encoder.tokenizer.encode(row[name][0]["content"], add_special_tokens=False)
        encoded |= {name: row[name], f"governed_{name}": [*text, encoder.tokenizer.eos_token_id]}
    return encoded | ({"label": row["label"]} if method == "kto" else {})


def _load(model_path: Path) -> PromethiosForCausalLM:
    """Load the model in fp32, with reserved columns out of reach in the head itself.

    TRL multiplies hidden states by the head and adds its bias, without our forward pass: the frozen bias makes that the
    distribution that is served, in which no reserved id can be sampled.
    """
    model: PromethiosForCausalLM = AutoModelForCausalLM.from_pretrained(
        model_path, dtype=torch.float32, local_files_only=True
    )
    bias = torch.zeros(model.config.vocab_size)
    bias[model.reserved.first : model.reserved.end] = UNREACHABLE
    model.lm_head.bias = nn.Parameter(bias, requires_grad=False)
    return model


def _arguments(
    config: RunConfig, method: str, rows: Sequence[Mapping[str, Any]], output_dir: Path
) -> TrainingArguments:
    preference = config.preference
    training = dataclasses.replace(config.training, bf16=config.training.bf16 and computes_in_bf16())
    common: dict[str, Any] = {
        "output_dir": str(output_dir),  # to which nothing is saved
        "num_train_epochs": preference.epochs,
        "per_device_train_batch_size": preference.batch_size,
        "learning_rate": preference.learning_rate or LEARNING_RATE_FACTOR * training.learning_rate,
        "lr_scheduler_type": training.lr_scheduler,
        "warmup_steps": 0,  # the first step of a warm-up learns nothing, and a week's feedback may be one step
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "bf16": training.bf16,
        "deepspeed": deepspeed_config(training) if num_ranks() > 1 else None,
        "gradient_checkpointing": training.gradient_checkpointing,
        "logging_steps": training.logging_steps,
        "seed": training.seed,
        "data_seed": training.seed,
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "save_strategy": "no",
        "report_to": [],
        "remove_unused_columns": False,  # the collator reads columns of ours
        "max_length": None,  # lengths were checked
        "beta": preference.beta,
    }
    if method == "dpo":
        return DPOConfig(**common, loss_type=["sigmoid", "sft"], loss_weights=[1.0, preference.anchor])
    desirable = sum(bool(row["label"]) for row in rows)
    undesirable = len(rows) - desirable
    return KTOConfig(
        **common,  # both kinds weigh the same in total, as the paper advises
        desirable_weight=min(1.0, undesirable / desirable) if desirable and undesirable else 1.0,
        undesirable_weight=min(1.0, desirable / undesirable) if desirable and undesirable else 1.0,
    )
