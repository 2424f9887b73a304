from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from promethios.configs.run_config import ModelSection
from promethios.model.adapters import add_adapters, without_adapters
from promethios.model.build import sentinel_config
from promethios.model.governance_sentinel_8b import PromethiosForCausalLM

IDS = torch.arange(300, 330).unsqueeze(0)


@pytest.fixture
def model(tiny_section: ModelSection) -> PromethiosForCausalLM:
    torch.manual_seed(0)
    return PromethiosForCausalLM(sentinel_config(tiny_section)).eval()


@pytest.fixture
def adapted(model: PromethiosForCausalLM) -> PromethiosForCausalLM:
    """The same model with adapters that have learned something."""
    add_adapters(model, rank=4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    return model


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def test_fresh_adapters_change_nothing_and_stand_on_every_projection(model: PromethiosForCausalLM) -> None:
    before = logits(model)
    add_adapters(model, rank=4)
    assert torch.equal(logits(model), before)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(trained) == model.config.num_hidden_layers * 7 * 2
    assert not [name for name in trained if "governance" in name]


def test_a_saved_folder_has_the_adapters_merged_and_no_trace_of_them(
    adapted: PromethiosForCausalLM, tmp_path: Path
) -> None:
    adapted.save_pretrained(tmp_path)
    assert not [name for name in load_file(tmp_path / "model.safetensors") if "lora" in name or "base_layer" in name]
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    torch.testing.assert_close(logits(loaded), logits(adapted), atol=1e-4, rtol=1e-4)


def test_switched_off_adapters_leave_the_weights_as_they_were(
    tiny_section: ModelSection, adapted: PromethiosForCausalLM
) -> None:
    torch.manual_seed(0)
    plain = PromethiosForCausalLM(sentinel_config(tiny_section)).eval()
    with without_adapters(adapted):
        off = logits(adapted)
    assert torch.equal(off, logits(plain))
    assert not torch.equal(logits(adapted), off)
    assert [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
