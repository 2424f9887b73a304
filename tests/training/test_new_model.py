from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from promethios.configs.run_config import ModelSection
from promethios.model.encoding import PromptEncoder
from promethios.model.governance_sentinel_8b import NEW_PARAMETERS, PromethiosForCausalLM
from promethios.model.pretrained import convert_backbone
from promethios.training.new_model import model_from, set_trainable


@pytest.fixture(scope="module")
def converted(
    tmp_path_factory: pytest.TempPathFactory, write_backbone: Callable[..., ModelSection]
) -> tuple[Path, ModelSection]:
    folder = tmp_path_factory.mktemp("backbone")
    section = write_backbone(folder / "source", "qwen3", tied=True)
    convert_backbone(section, folder / "converted")
    return folder / "converted", section


@pytest.fixture
def model(converted: tuple[Path, ModelSection]) -> PromethiosForCausalLM:
    return model_from(*converted, torch.float32).eval()


def with_header(folder: Path) -> torch.Tensor:
    return torch.tensor([PromptEncoder.load(folder).prompt([{"role": "user", "content": "How much?"}], None, None)])


def test_the_training_form_of_a_folder_computes_what_the_folder_does(
    converted: tuple[Path, ModelSection], model: PromethiosForCausalLM
) -> None:
    folder, _ = converted
    saved = PromethiosForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    values = torch.tensor([list(model.reserved.value_ids)])
    # The folder holds the rows in bf16; the function itself is kept in fp32.
    torch.testing.assert_close(model.embed(values), saved.embed(values), atol=0.05, rtol=0.01)
    ids = with_header(folder)
    assert torch.equal(model(ids).logits, saved(ids).logits)


def test_the_value_function_outlives_a_save(
    converted: tuple[Path, ModelSection], model: PromethiosForCausalLM, tmp_path: Path
) -> None:
    with torch.no_grad():
        for parameter in model.value_embedding.parameters():
            parameter.normal_(0, 0.3)
    model.save_pretrained(tmp_path)
    again = model_from(tmp_path, converted[1], torch.float32)
    assert torch.equal(again.value_embedding.rows(), model.value_embedding.rows())


@pytest.mark.parametrize("train", ["modules", "lora", "full"])
def test_only_what_a_stage_trains_has_a_gradient(
    converted: tuple[Path, ModelSection], model: PromethiosForCausalLM, train: str
) -> None:
    set_trainable(model, train, lora_rank=4)
    output = model(with_header(converted[0]), use_cache=False)
    (output.logits.logsumexp(-1).sum() + output.governance_scores.square().sum()).backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    new = {name for name, _ in model.named_parameters() if any(part in name for part in NEW_PARAMETERS)}
    adapters = {name for name, _ in model.named_parameters() if ".lora_" in name}
    everything = {name for name, _ in model.named_parameters()}
    assert moved == {"modules": new, "lora": new | adapters, "full": everything}[train]
    assert bool(adapters) is (train == "lora")


def test_with_a_frozen_backbone_the_old_rows_stay_bit_for_bit_although_weights_decay(
    converted: tuple[Path, ModelSection], model: PromethiosForCausalLM, tmp_path: Path
) -> None:
    set_trainable(model, "modules", lora_rank=4)
    before = PromethiosForCausalLM.from_pretrained(converted[0], dtype=torch.float32).model.embed_tokens.weight
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.5)
    model(with_header(converted[0])).logits.logsumexp(-1).sum().backward()
    optimizer.step()
    model.save_pretrained(tmp_path)
    after = PromethiosForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).model.embed_tokens.weight
    reserved = list(model.reserved)
    old = [row for row in range(len(after)) if row not in model.reserved]
    assert torch.equal(after[old], before[old])
    assert (after[reserved] != before[reserved]).any(1).all()
