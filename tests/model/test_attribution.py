from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from promethios.configs.run_config import ModelSection
from promethios.model.attribution import read_request
from promethios.model.build import sentinel_config
from promethios.model.governance_sentinel_8b import PromethiosForCausalLM
from promethios.model.principles import anchor_inputs, anchors
from promethios.ontology.governance_ontology import load_ontology

IDS = list(range(300, 320))


@pytest.fixture
def model(tiny_section: ModelSection) -> PromethiosForCausalLM:
    torch.manual_seed(0)
    model = PromethiosForCausalLM(sentinel_config(tiny_section)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gate"):
                parameter.fill_(0.5)
            if "governance_heads" in name:
                parameter.normal_(0, 0.5)
    return model


def test_the_scores_are_those_of_an_ordinary_pass(model: PromethiosForCausalLM) -> None:
    scores, _ = read_request(model, IDS)
    with torch.no_grad():
        ordinary = model(torch.tensor([IDS])).governance_scores[0, -1].tolist()
    assert scores == pytest.approx(ordinary, abs=1e-5)


def test_every_anchor_gives_every_slot_and_attention_sums_to_one_in_each_framework(
    model: PromethiosForCausalLM,
) -> None:
    _, readings = read_request(model, IDS)
    assert [reading.layer for reading in readings] == list(anchors(model))
    for reading in readings:
        assert reading.gate == pytest.approx(0.4621, abs=1e-4) and reading.change > 0
        assert [p.strength for p in reading.fired] == sorted((p.strength for p in reading.fired), reverse=True)
        for framework in load_ontology().frameworks:
            slots = [fired for fired in reading.fired if fired.framework == framework]
            assert sum(fired.attention for fired in slots) == pytest.approx(1.0, abs=1e-5)
            named = {fired.principle for fired in slots} - {None}
            assert named == {p.id for p in load_ontology().principles.values() if p.framework == framework}


def test_the_shares_that_serving_shows_are_those_of_the_slots_that_fired(model: PromethiosForCausalLM) -> None:
    model.model.shows_principles = True
    with torch.no_grad():
        hidden, *_ = model.model(torch.tensor([IDS]), return_dict=False)
    model.model.shows_principles = False
    *_, last = read_request(model, IDS)[1]
    named = {fired.principle: fired.share for fired in last.fired if fired.principle}
    size = model.config.hidden_size
    slots = hidden[0, -1, size:].tolist()
    assert {name: slots[slot] for name, slot in model.config.shown_principles.items()} == pytest.approx(named)
    assert sum(fired.share for fired in last.fired) == pytest.approx(1.0)
    assert 0 < sum(named.values()) < 1
    with torch.no_grad():
        plain = model.model(torch.tensor([IDS])).last_hidden_state
    assert torch.equal(hidden[..., :size], plain)


def test_a_slot_whose_key_is_the_query_of_the_moment_is_the_one_that_fires(model: PromethiosForCausalLM) -> None:
    number, anchor = min(anchors(model).items())
    with torch.no_grad(), anchor_inputs(model) as inputs:
        model(torch.tensor([IDS]))
    with torch.no_grad():
        query = anchor.query(anchor.norm(inputs[number][0, -1])).view(anchor.heads, anchor.head_dim)
        anchor.principle_keys[0, :, 2] = 100 * query
        anchor.framework.weight.zero_()
        anchor.framework.bias.copy_(torch.tensor([4.0, -4.0, -4.0]))
    strongest = read_request(model, IDS)[1][0].fired[0]
    assert (strongest.framework, strongest.principle) == ("safety", "fail_safe")
    assert strongest.framework_weight == pytest.approx(0.982, abs=1e-3)
    assert strongest.attention == pytest.approx(1.0, abs=1e-3)


def test_a_saved_model_tells_the_same_principles(model: PromethiosForCausalLM, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    loaded = PromethiosForCausalLM.from_pretrained(tmp_path).eval()
    for before, after in zip(read_request(model, IDS)[1], read_request(loaded, IDS)[1], strict=True):
        shares = [
            {(slot.framework, slot.principle, slot.slot): slot.share for slot in r.fired} for r in (before, after)
        ]
        assert shares[1] == pytest.approx(shares[0], abs=1e-6)


def test_a_model_without_anchors_has_scores_and_no_readings(tiny_section: ModelSection) -> None:
    section = dataclasses.replace(tiny_section, governance_modules=False)
    scores, readings = read_request(PromethiosForCausalLM(sentinel_config(section)).eval(), IDS)
    assert len(scores) == 18 and readings == []
