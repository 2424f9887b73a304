from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from promethios.configs.run_config import ModelSection
from promethios.model.build import sentinel_config
from promethios.model.governance_sentinel_8b import PromethiosForCausalLM
from promethios.model.principles import (
    anchor_inputs,
    anchors,
    mean_embeddings,
    mean_hidden_states,
    principle_token_ids,
    principles_by_framework,
    write_principles,
)
from promethios.model.tokenizer import train_tokenizer
from promethios.ontology.governance_ontology import load_ontology
from promethios.training.new_model import new_model

ONE_RANK = {"zero_optimization": {"stage": 0}}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer((p.sentence for p in load_ontology().principles.values()), 600)


@pytest.fixture(scope="module")
def sentences(tokenizer: PreTrainedTokenizerFast) -> dict[str, list[int]]:
    return principle_token_ids(tokenizer)


@pytest.fixture
def model(
    tiny_section: ModelSection, tokenizer: PreTrainedTokenizerFast, sentences: dict[str, list[int]]
) -> PromethiosForCausalLM:
    torch.manual_seed(0)
    return new_model(sentinel_config(tiny_section, tokenizer), ONE_RANK, sentences)


def test_every_principle_of_the_ontology_has_a_slot_that_carries_its_id(model: PromethiosForCausalLM) -> None:
    assert model.config.principles == principles_by_framework(load_ontology())
    named = [principle for ids in model.config.principles.values() for principle in ids]
    assert named == list(load_ontology().principles)
    assert max(map(len, model.config.principles.values())) <= model.config.num_principles


def test_a_sentence_fires_its_own_principle_more_than_any_other(
    model: PromethiosForCausalLM, sentences: dict[str, list[int]]
) -> None:
    states = mean_embeddings(model.model.embed_tokens, sentences)
    hits = 0
    anchor = anchors(model)[1]
    attention = anchor.attend(states)[0].mean(-2)  # [sentences, frameworks, principles]
    start = 0
    for framework, ids in enumerate(model.config.principles.values()):
        own = attention[start : start + len(ids), framework]
        hits += (own.argmax(-1) == torch.arange(len(ids))).sum().item()
        start += len(ids)
    assert hits == len(sentences)


def test_named_slots_have_the_scale_of_free_slots_and_free_slots_stay_random(
    tiny_section: ModelSection, tokenizer: PreTrainedTokenizerFast, model: PromethiosForCausalLM
) -> None:
    torch.manual_seed(0)
    plain = PromethiosForCausalLM(sentinel_config(tiny_section, tokenizer))
    for number, anchor in anchors(model).items():
        for name in ("principle_keys", "principle_values"):
            ours, random = getattr(anchor, name), getattr(anchors(plain)[number], name)
            for framework, ids in enumerate(model.config.principles.values()):
                assert torch.equal(ours[framework, :, len(ids) :], random[framework, :, len(ids) :])
                named = ours[framework, :, : len(ids)]
                assert not torch.equal(named, random[framework, :, : len(ids)])
                assert named.square().mean().item() == pytest.approx(1.0, abs=1e-4)


def test_a_pretrained_backbone_gives_slots_the_states_at_the_anchors_depth(
    model: PromethiosForCausalLM, sentences: dict[str, list[int]]
) -> None:
    states = mean_hidden_states(model.eval(), sentences)
    assert states.keys() == anchors(model).keys()
    ids = sentences["honesty"]
    with torch.no_grad():
        hidden = model.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    row = list(sentences).index("honesty")
    first = min(states)
    # The gates are closed, so what enters an anchor is what leaves its layer.
    torch.testing.assert_close(states[first][row], hidden[first][0].mean(0))
    before = anchors(model)[first].principle_keys.clone()
    write_principles(anchors(model)[first], model.config.principles, states[first])
    assert not torch.equal(before, anchors(model)[first].principle_keys)


def test_nothing_is_recorded_outside_the_context(model: PromethiosForCausalLM) -> None:
    with anchor_inputs(model) as inputs:
        model(torch.tensor([[300, 301]]))
    assert all(state.shape == (1, 2, model.config.hidden_size) for state in inputs.values())
    assert not [anchor for anchor in anchors(model).values() if anchor._forward_pre_hooks]
