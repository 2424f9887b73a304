"""Real TRL trainers on a tiny model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from promethios.configs.run_config import RunConfig, load_run_config
from promethios.data.example import Example
from promethios.errors import ConfigError
from promethios.model.build import sentinel_config
from promethios.model.encoding import PromptEncoder
from promethios.model.governance_sentinel_8b import PromethiosForCausalLM
from promethios.model.scoring import score_examples
from promethios.model.tokenizer import train_tokenizer
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.state import GovernanceState
from promethios.training.packing import encode_targets
from promethios.training.preferences import PROMPT, REPLAY, align, preference_dataset

pytestmark = pytest.mark.integration

STATE = {"trust": 0.5, "model": "SPLIT"}
GOOD, BAD = "Please ask your doctor first.", "Sure, no problem at all."


def example(number: int) -> Example:
    return Example(
        id=f"train-{number:05d}",
        messages=({"role": "user", "content": f"Question {number}?"}, {"role": "assistant", "content": "It depends."}),
        state=GovernanceState.from_mapping(STATE),
        header_domain="general",
        domain="general",
        decision="caveat",
        soft_label=(0.1, 0.6, 0.0, 0.3),
        confidence=0.7,
        uncertainty=(0.0,) * 6,
        bias=(0.0,) * 6,
        tool=0,
    )


EXAMPLES = [example(number) for number in range(24)]


def row(number: int, weight: float = 1.0, **texts: Any) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": f"May I take {number} tablets?"}],
        **{name: [{"role": "assistant", "content": text}] for name, text in texts.items() if name != "label"},
        **{name: value for name, value in texts.items() if name == "label"},
        "governance": {"state": STATE, "domain": "general"},
        "decision": "answer",
        "weight": weight,
    }


DPO_ROWS = [row(number, chosen=GOOD, rejected=BAD) for number in range(16)]
KTO_ROWS = [row(number, completion=BAD if number % 2 else GOOD, label=not number % 2) for number in range(16)]


@pytest.fixture(scope="module")
def config() -> RunConfig:
    nano = load_run_config("nano", {"preference.epochs": "6", "preference.batch_size": "4", "training.bf16": "false"})
    tiny = {
        **{"vocab_size": 600, "hidden_size": 32, "intermediate_size": 64, "num_layers": 2},
        **{"num_attention_heads": 2, "num_key_value_heads": 1, "anchor_size": 16, "anchor_heads": 2},
    }
    return dataclasses.replace(nano, model=dataclasses.replace(nano.model, **tiny))


@pytest.fixture(scope="module")
def model_path(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [GOOD, BAD, *(message["content"] for item in EXAMPLES for message in item.messages)]
    tokenizer = train_tokenizer(texts, config.model.vocab_size)
    torch.manual_seed(0)
    model = PromethiosForCausalLM(sentinel_config(config.model, tokenizer))
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def log_probability(model: PromethiosForCausalLM, encoder: PromptEncoder, text: str) -> float:
    """Mean over prompts of log P(text | prompt, header, decision), from the logits that are served."""
    state = GovernanceState.from_mapping(STATE)
    total = 0.0
    for item in DPO_ROWS:
        prompt = encoder.prompt(item["prompt"], state, load_ontology().domain("general").header)
        prompt.append(encoder.reserved.decision("answer"))
        ids = encoder.tokenizer.encode(text, add_special_tokens=False)
        with torch.no_grad():
            logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        total += logits.log_softmax(-1)[range(len(ids)), ids].sum().item()
    return total / len(DPO_ROWS)


@pytest.mark.parametrize(("method", "rows"), [("dpo", DPO_ROWS), ("kto", KTO_ROWS)])
def test_alignment_prefers_what_reviewers_preferred_and_keeps_the_decisions(
    method: str, rows: list[dict[str, Any]], model_path: Path, config: RunConfig, tmp_path: Path
) -> None:
    encoder = PromptEncoder.load(model_path)
    before = AutoModelForCausalLM.from_pretrained(model_path)
    replay = encode_targets(encoder, EXAMPLES, config.training.sequence_length)
    facts = align(model_path, rows, replay, config, method, tmp_path / "aligned")
    assert facts["preferences"] == 16 and facts["steps"] == 24 and facts["replayed"] == 7  # 30 % of 23

    def margin(model: PromethiosForCausalLM) -> float:
        return log_probability(model, encoder, GOOD) - log_probability(model, encoder, BAD)

    after = AutoModelForCausalLM.from_pretrained(tmp_path / "aligned")
    assert margin(after) > margin(before) + 1.0
    assert set(after.state_dict()) == set(before.state_dict())  # no trace of the head's bias
    decided = score_examples(tmp_path / "aligned", EXAMPLES[:4], progress=False)[:, :4].argmax(axis=1)
    assert (decided == 1).all()  # replay taught what the untrained model did not know: caveat


def test_the_dataset_holds_our_ids_and_repeats_rows_by_weight(model_path: Path) -> None:
    encoder = PromptEncoder.load(model_path)
    rows = [row(0, 3.0, chosen=GOOD, rejected=BAD), *(row(i, 1 / 3, chosen=GOOD, rejected=BAD) for i in (1, 2, 3))]

    def dataset(length: int = 256) -> list[Mapping[str, Any]]:
        made = preference_dataset(encoder, rows, "dpo", num_replay=5, replay_share=0.5, sequence_length=length, seed=0)
        return list(made)

    items = dataset()
    texts = [item["prompt"][0]["content"] for item in items]
    assert texts.count("May I take 0 tablets?") == 3 and len(texts) == 4
    ids = items[0][PROMPT]
    assert ids[-1] == encoder.reserved.decision("answer")
    assert ids[-2] == encoder.reserved.id("<|/gov|>")
    assert np.concatenate([item[REPLAY] for item in items]).size == 4  # half of the examples
    with pytest.raises(ConfigError, match=r"more than training\.sequence_length 20"):
        dataset(20)
