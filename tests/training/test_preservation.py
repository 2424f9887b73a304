from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from promethios.configs.run_config import ModelSection
from promethios.errors import DatasetError
from promethios.model.encoding import PromptEncoder
from promethios.model.governance_sentinel_8b import PromethiosForCausalLM
from promethios.model.pretrained import convert_backbone
from promethios.training.new_model import model_from, set_trainable
from promethios.training.packing import PackCollator
from promethios.training.preservation import (
    MAX_POSITIONS,
    ChatCollator,
    backbone_beside,
    backbone_inside,
    chat_logits,
    divergence,
    read_conversations,
)

CHAT = [{"role": "user", "content": "How much may I take?"}, {"role": "assistant", "content": "Ask a clinician."}]


@pytest.fixture(scope="module")
def converted(
    tmp_path_factory: pytest.TempPathFactory, write_backbone: Callable[..., ModelSection]
) -> tuple[Path, ModelSection]:
    folder = tmp_path_factory.mktemp("backbone")
    section = write_backbone(folder / "source", "llama")
    convert_backbone(section, folder / "converted")
    return folder / "converted", section


@pytest.fixture
def batch(converted: tuple[Path, ModelSection]) -> dict[str, torch.Tensor]:
    encoder = PromptEncoder.load(converted[0])
    ids = encoder.chat(CHAT)
    assert not [i for i in ids if i in encoder.reserved]
    return ChatCollator(PackCollator(8, encoder.tokenizer.pad_token_id))([([], ids), ([], ids[:20])])


@pytest.mark.parametrize("train", ["modules", "lora", "full"])
def test_the_divergence_is_zero_before_training_and_the_loss_brings_a_model_back(
    converted: tuple[Path, ModelSection], batch: dict[str, torch.Tensor], train: str
) -> None:
    folder, section = converted
    model = model_from(folder, section, torch.float32)
    set_trainable(model, train, lora_rank=4)
    beside = PromethiosForCausalLM.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)
    backbone = backbone_beside(beside) if train == "full" else backbone_inside(model)

    def kl() -> torch.Tensor:
        with torch.no_grad():
            reference = backbone(model, batch)
        return divergence(reference, chat_logits(model, batch))

    assert kl().item() == 0.0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gate"):
                parameter.fill_(1.0)
            if "governance" in name and name.endswith(("out.weight", "up.weight")):
                parameter.normal_(0, 0.3)
    opened = kl().item()
    assert opened > 0.01
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    for _ in range(20):
        optimizer.zero_grad()
        kl().backward()
        optimizer.step()
    assert kl().item() < 0.5 * opened


def test_the_backbone_inside_is_the_backbone_after_modules_and_adapters_have_learned(
    converted: tuple[Path, ModelSection], batch: dict[str, torch.Tensor]
) -> None:
    folder, section = converted
    model = model_from(folder, section, torch.float32).eval()
    set_trainable(model, "lora", lora_rank=4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gate") or "lora_B" in name:
                parameter.fill_(0.3)
        beside = PromethiosForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        expected = backbone_beside(beside)(model, batch)
        assert torch.equal(backbone_inside(model)(model, batch), expected)
        assert not torch.equal(chat_logits(model, batch), expected)  # and the modules are back in place


def test_a_batch_asks_for_no_more_positions_than_there_is_room_for(batch: dict[str, torch.Tensor]) -> None:
    ids, index = batch["chat_ids"], batch["chat_index"]
    assert len(index) == len(set(index.tolist())) == (ids.shape[1] + 20)
    long = ChatCollator(PackCollator(8, 0))([([], list(range(1, 3000)))])
    assert MAX_POSITIONS / 2 < len(long["chat_index"]) <= MAX_POSITIONS
    assert long["chat_index"].max() > 2900


def test_conversations_come_from_a_file_or_from_the_examples(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_text(json.dumps({"messages": CHAT}) + "\n")
    assert read_conversations(str(path), []) == [CHAT]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("{}\n", r"chat\.jsonl:1: must be a JSON object with"),
        ('{"messages": [{"role": "user"}]}\n', r"chat\.jsonl:1: must be"),
        ("[1]\n", r"chat\.jsonl:1: must be"),
    ],
)
def test_a_bad_file_of_conversations_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_conversations(str(path), [])


def test_a_missing_file_of_conversations_is_named() -> None:
    with pytest.raises(DatasetError, match=r"training\.preservation\.data nowhere\.jsonl: cannot be read"):
        read_conversations("nowhere.jsonl", [])
