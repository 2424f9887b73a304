"""Which parameters Muon trains, and what its steps do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import TrainingArguments

from promethios.configs.run_config import TrainingSection, load_run_config
from promethios.errors import ConfigError
from promethios.model.build import sentinel_config
from promethios.model.governance_sentinel_8b import PromethiosForCausalLM
from promethios.training.optimizer import is_muons, muon_and_adamw
from tests.tiny_model import TINY_MODEL

DECAYED = "weight"


@pytest.fixture
def model() -> PromethiosForCausalLM:
    config = sentinel_config(load_run_config("nano", {name: str(value) for name, value in TINY_MODEL.items()}).model)
    config.first_reserved_id = 600
    return PromethiosForCausalLM(config)


def optimizer_of(model: nn.Module, tmp_path: Path) -> torch.optim.Optimizer:
    args = TrainingArguments(output_dir=str(tmp_path), learning_rate=1e-3, weight_decay=0.1, use_cpu=True)
    decayed = [name for name, _ in model.named_parameters() if name.endswith(DECAYED)]
    return muon_and_adamw(model, args, 1e-2, decayed)


def test_every_parameter_has_one_optimizer_and_only_matrices_of_layers_have_muon(
    model: PromethiosForCausalLM, tmp_path: Path
) -> None:
    model.governance_heads.bias.requires_grad_(False)
    groups = optimizer_of(model, tmp_path).param_groups
    names = {parameter: name for name, parameter in model.named_parameters()}
    of_group = [{names[parameter] for parameter in group["params"]} for group in groups]
    assert sum(map(len, of_group)) == len(set().union(*of_group)) == len(names) - 1
    muons = of_group[2]
    assert "model.layers.0.self_attn.q_proj.weight" in muons and "model.layers.0.mlp.down_proj.weight" in muons
    for name in (
        "model.embed_tokens",
        "governance_heads",
        "request_heads",
        "evidence_heads",
        "telemetry_heads",
        "value_embedding",
        "norm",
    ):
        assert not [muon for muon in muons if name in muon], "a row of these means something by itself"
    assert [group["lr"] for group in groups] == [1e-3, 1e-3, 1e-2]
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0, 0.1]


def test_adapters_keep_adamw_and_a_sharded_matrix_is_known_by_its_own_shape() -> None:
    matrix = nn.Parameter(torch.zeros(4, 6))
    assert is_muons("model.layers.0.mlp.up_proj.weight", matrix)
    assert not is_muons("model.layers.0.mlp.up_proj.lora_a", matrix)
    shard = nn.Parameter(torch.zeros(0))
    assert not is_muons("model.layers.0.mlp.up_proj.weight", shard)
    shard.ds_shape = torch.Size((4, 6))
    assert is_muons("model.layers.0.mlp.up_proj.weight", shard)


def test_a_step_moves_a_matrix_alike_in_all_directions(model: PromethiosForCausalLM, tmp_path: Path) -> None:
    optimizer = optimizer_of(model, tmp_path)
    matrix = model.model.layers[0].mlp.down_proj.weight
    before = matrix.detach().clone()
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    matrix.grad *= torch.logspace(0, -2, matrix.shape[1])  # directions a hundred times as strong as others
    optimizer.step()
    step = matrix.detach() - before * (1 - 1e-2 * 0.1)
    strengths = torch.linalg.svdvals(step / 1e-2)
    assert strengths.max() / strengths.min() < 5, "Newton-Schulz ends between 0.5 and 1.5"


def test_muon_clips_nothing_and_its_rate_must_be_positive(tmp_path: Path) -> None:
    from promethios.training.arguments import training_arguments

    section: TrainingSection = load_run_config("nano", {"training.bf16": "false"}).training
    assert section.muon_learning_rate
    assert training_arguments(section, tmp_path).max_grad_norm == 0.0
    adamw = load_run_config("nano", {"training.muon_learning_rate": "null"}).training
    assert training_arguments(adamw, tmp_path).max_grad_norm == 1.0
    with pytest.raises(ConfigError, match=r"training.muon_learning_rate is 0.0, it must be above 0"):
        load_run_config("nano", {"training.muon_learning_rate": "0"})
