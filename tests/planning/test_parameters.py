from __future__ import annotations

import pytest
import torch

from promethios.configs.run_config import ModelSection, load_run_config, preset_names
from promethios.model.adapters import add_adapters
from promethios.model.build import count_parameters, sentinel_config
from promethios.model.configuration import PromethiosConfig
from promethios.model.governance_sentinel_8b import NUM_FRAMEWORKS, PromethiosForCausalLM, ValueEmbedding
from promethios.planning import parameters
from promethios.training.new_model import set_trainable

SMALL = {
    "model.vocab_size": "512",
    "model.hidden_size": "48",
    "model.intermediate_size": "96",
    "model.num_attention_heads": "4",
    "model.num_key_value_heads": "2",
}


def small(**overrides: str) -> ModelSection:
    changes = {f"model.{key}": value for key, value in overrides.items()}
    return load_run_config("nano", SMALL | changes).model


def meta_model(section: ModelSection) -> PromethiosForCausalLM:
    with torch.device("meta"):
        return PromethiosForCausalLM(sentinel_config(section))


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_has_as_many_parameters_as_its_model(name: str) -> None:
    section = load_run_config(name).model
    counts, truth = parameters.count_modules(section), count_parameters(section)
    assert sum(counts.values()) == truth["total"]
    assert sum(counts.get(module, 0) for module in parameters.GOVERNANCE) == truth["governance"]


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"qk_norm": "false", "tie_word_embeddings": "false"},
        {"head_dim": "16", "num_layers": "7"},
        {"governance_modules": "false"},
        {"value_embedding": "bins"},
        {"from_pretrained": "a-backbone"},
    ],
    ids=str,
)
@pytest.mark.parametrize("train", ["full", "modules", "lora"])
def test_what_is_in_memory_and_what_moves_is_what_training_makes_of_it(overrides: dict[str, str], train: str) -> None:
    section = small(**overrides)
    model = meta_model(section)
    if train == "lora":
        add_adapters(model, 4)
    set_trainable(model, "modules" if train == "lora" else train, 4)
    moving = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert parameters.count_trained(section, train, 4) == (sum(p.numel() for p in model.parameters()), moving)


@pytest.mark.parametrize("depth", range(1, 41))
def test_modules_stand_after_the_layers_of_the_models_own_configuration(depth: int) -> None:
    config = PromethiosConfig(num_hidden_layers=depth)
    placed = parameters.module_layers(small(num_layers=str(depth)))
    assert placed == {"anchor": config.anchor_layers, "veritas": config.veritas_layers, "tool": config.tool_layers}


def test_the_constants_are_the_models() -> None:
    assert parameters.NUM_FRAMEWORKS == NUM_FRAMEWORKS
    up = ValueEmbedding(8).up
    assert (up.in_features, up.out_features) == (parameters.VALUE_FUNCTION_INPUTS, parameters.VALUE_FUNCTION_WIDTH)
