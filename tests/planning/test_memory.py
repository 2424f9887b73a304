from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.distributed._tools.mem_tracker import MemTracker

from promethios.configs.run_config import RunConfig, load_run_config
from promethios.model.build import sentinel_config
from promethios.model.governance_sentinel_8b import PromethiosForCausalLM
from promethios.planning.memory import Memory, activation_bytes, training_memory
from promethios.planning.parameters import count_trained
from promethios.training.objective import governance_losses, weighted_sum

GB = 1e9
SMALL = {
    "model.vocab_size": "8192",
    "model.hidden_size": "128",
    "model.intermediate_size": "384",
    "model.num_layers": "4",
    "model.num_attention_heads": "8",
    "model.num_key_value_heads": "2",
    "model.tie_word_embeddings": "false",
    "training.sequence_length": "768",
    "training.batch_size": "2",
    "training.zero_stage": "0",
}


def states(parameters: float, ranks: int, stage: int) -> Memory:
    config = load_run_config("8b", {"training.zero_stage": str(stage), "training.gradient_accumulation_steps": "1"})
    count = int(parameters)
    return training_memory(
        config.model, config.training, in_memory=count, trained=count, ranks=ranks, predicted_share=0.3
    )


@pytest.mark.parametrize(("stage", "gigabytes"), [(0, 120), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_model_states_are_those_of_figure_1_of_the_zero_paper(stage: int, gigabytes: float) -> None:
    """7.5 B parameters on 64 ranks, arXiv 1910.02054."""
    assert states(7.5e9, 64, stage).states / GB == pytest.approx(gigabytes, abs=0.05)


def test_8_b_parameters_have_128_gb_of_states_16_gb_on_each_of_8_ranks_under_stage_3() -> None:
    assert states(8e9, 1, 0).states == 128e9
    assert states(8e9, 8, 3).states == 16e9


def test_the_step_of_a_single_rank_holds_gradients_in_fp32_too() -> None:
    memory = states(8e9, 1, 0)
    assert memory.step_copies == 4 * 8e9
    assert memory.peak == 160e9


def test_a_frozen_backbone_takes_two_bytes_a_parameter_and_nothing_else() -> None:
    training = load_run_config("8b", {"training.zero_stage": "1"}).training
    model = load_run_config("8b").model
    arguments = {"in_memory": 8_000_000_000, "ranks": 8, "predicted_share": 0.3}
    memory = training_memory(model, training, trained=80_000_000, **arguments)
    assert memory.parameters == 16e9
    assert memory.gradients == 0.16e9
    assert memory.optimizer == 0.12e9


def config_of(**overrides: str) -> RunConfig:
    return load_run_config("nano", SMALL | {key.replace("__", "."): value for key, value in overrides.items()})


def model_of(config: RunConfig) -> PromethiosForCausalLM:
    torch.manual_seed(0)
    model = PromethiosForCausalLM(sentinel_config(config.model)).train()
    if config.training.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return model.to(torch.bfloat16) if config.training.bf16 else model


def packed(config: RunConfig, responses: int) -> dict[str, torch.Tensor]:
    """Return three sequences in each pack, with so many response positions."""
    batch, length = config.training.batch_size, config.training.sequence_length
    return {
        "input_ids": torch.randint(600, 1000, (batch, length)),
        "position_ids": torch.arange(length // 3).repeat(3).expand(batch, -1),
        "logit_index": torch.arange(responses),
        "score_index": torch.arange(4),
        "request_index": torch.arange(4),
    }


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"model__governance_modules": "false"},
        {"model__qk_norm": "false"},
        {"model__num_key_value_heads": "8"},
        {"training__bf16": "false"},
        {"training__gradient_checkpointing": "true"},
    ],
    ids=str,
)
def test_autograd_keeps_what_is_counted(overrides: dict[str, str]) -> None:
    config = config_of(**overrides)
    model = model_of(config)
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(**packed(config, responses=1), use_cache=False)
    measured = sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own)
    assert activation_bytes(config.model, config.training) == pytest.approx(measured, rel=0.02)


@pytest.mark.parametrize(("checkpointing", "share"), [("true", 0.05), ("true", 0.5), ("false", 0.5)])
def test_the_peak_of_a_backward_pass_is_what_is_planned(checkpointing: str, share: float) -> None:
    config = config_of(training__gradient_checkpointing=checkpointing)
    model = model_of(config)
    responses = int(share * config.training.batch_size * config.training.sequence_length)
    targets = {
        "labels": torch.randint(600, 1000, (responses,)),
        "label_weights": torch.ones(responses),
        "targets": torch.full((4, 18), 0.5),
        "weights": torch.ones(4),
        "review_costs": torch.full((4,), 0.4),
        "pairs": torch.zeros((0, 2), dtype=torch.long),
        "pair_kinds": torch.zeros(0, dtype=torch.long),
    }
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    tracker = MemTracker()
    tracker.track_external(model)
    with tracker:
        output = model(**packed(config, responses), use_cache=False)
        losses = governance_losses(output.logits, output.governance_scores, targets)
        del output
        weighted_sum(losses, dataclasses.replace(config.training.loss_weights)).backward()
    measured = sum(parts["Total"] for parts in tracker.get_tracker_snapshot("peak").values())
    in_memory, trained = count_trained(config.model, "full", 1)
    memory = training_memory(
        config.model, config.training, in_memory=in_memory, trained=trained, ranks=1, predicted_share=share
    )
    planned = memory.peak - memory.optimizer
    assert planned == pytest.approx(measured, rel=0.03)
