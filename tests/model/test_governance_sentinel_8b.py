from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from promethios.configs.run_config import LossWeights, ModelSection, load_run_config
from promethios.data.causes import EVIDENCE
from promethios.data.competence import LEVELS
from promethios.model.build import count_parameters, sentinel_config
from promethios.model.governance_sentinel_8b import NUM_EVIDENCE, NUM_LEVELS, PromethiosForCausalLM
from promethios.telemetry.header import NUM_DOMAIN_SLOTS, SCORE_NAMES
from promethios.training.objective import governance_losses, weighted_sum

FIRST_RESERVED = 10


@pytest.fixture
def model(tiny_section: ModelSection) -> PromethiosForCausalLM:
    torch.manual_seed(0)
    config = sentinel_config(tiny_section)
    config.first_reserved_id = FIRST_RESERVED
    return PromethiosForCausalLM(config).eval()


@pytest.fixture
def open_model(model: PromethiosForCausalLM) -> PromethiosForCausalLM:
    """The same model with its gates open and heads that are not zero."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gate"):
                parameter.fill_(0.5)
            if any(head in name for head in ("_heads", "domain_probe")):
                parameter.normal_(0, 0.5)
    return model


def ordinary_ids(*shape: int) -> torch.Tensor:
    return torch.randint(300, 600, shape, generator=torch.Generator().manual_seed(1))


def test_the_8b_preset_counts_8_billion_parameters_within_3_percent() -> None:
    counts = count_parameters(load_run_config("8b").model)
    assert counts["total"] == pytest.approx(8.0e9, rel=0.03)
    assert counts["governance"] == pytest.approx(46e6, rel=0.1)


@pytest.mark.parametrize(("preset", "parameters"), [("13b", 13.0e9), ("30b", 30.0e9)])
def test_the_larger_presets_count_what_their_names_say_within_2_percent(preset: str, parameters: float) -> None:
    assert count_parameters(load_run_config(preset).model)["total"] == pytest.approx(parameters, rel=0.02)


def test_small_is_three_times_nano() -> None:
    nano, small = (count_parameters(load_run_config(name).model)["total"] for name in ("nano", "small"))
    assert 2.8 * nano < small < 4 * nano


def test_every_gate_starts_at_zero_and_no_branch_is_dead(model: PromethiosForCausalLM) -> None:
    gates = {name: p for name, p in model.named_parameters() if name.endswith("gate")}
    assert gates and all(p.item() == 0.0 for p in gates.values())
    model(ordinary_ids(1, 12)).logits.logsumexp(-1).sum().backward()
    assert all(p.grad is not None and p.grad.abs().item() > 0 for p in gates.values())


def test_at_step_zero_the_backbone_is_a_plain_llama_bit_for_bit(tiny_section: ModelSection) -> None:
    section = dataclasses.replace(tiny_section, qk_norm=False)
    config = sentinel_config(section)
    config.first_reserved_id = FIRST_RESERVED
    ours = PromethiosForCausalLM(config).eval()
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    shape = {name: getattr(config, name) for name in (*names, "num_key_value_heads", "rms_norm_eps")}
    llama = LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=True)).eval()
    llama.load_state_dict(ours.state_dict(), strict=False)
    ids = ordinary_ids(2, 20)
    ordinary = [i for i in range(600) if i not in ours.reserved]
    with torch.no_grad():
        assert torch.equal(ours(ids).logits[..., ordinary], llama(ids).logits[..., ordinary])


def test_scores_are_read_from_log_probabilities_of_the_reserved_columns(open_model: PromethiosForCausalLM) -> None:
    with torch.no_grad():
        output = open_model(ordinary_ids(1, 9))
    assert output.governance_scores.shape == (1, 9, len(SCORE_NAMES))
    log_probabilities = output.logits.log_softmax(-1)
    reference, *columns = open_model.reserved.score_ids
    read = log_probabilities[..., columns] - log_probabilities[..., [reference]]
    torch.testing.assert_close(read, output.governance_scores, atol=2e-5, rtol=0)


def test_the_domain_probe_is_read_from_log_probabilities_of_the_domain_columns(
    open_model: PromethiosForCausalLM,
) -> None:
    with torch.no_grad():
        output = open_model(ordinary_ids(1, 9))
    assert output.domain_logits.shape == (1, 9, NUM_DOMAIN_SLOTS)
    columns = output.logits.log_softmax(-1)[..., list(open_model.reserved.domain_ids)]
    assert columns.max() < -90.0, "no probe, however sure, lifts a column to where it could be sampled"
    torch.testing.assert_close(columns.softmax(-1), output.domain_logits.softmax(-1), atol=2e-5, rtol=0)


def test_the_domain_probe_starts_without_an_opinion_and_teaches_itself_alone(model: PromethiosForCausalLM) -> None:
    output = model(ordinary_ids(1, 12))
    assert not output.domain_logits.any()
    output.domain_logits.log_softmax(-1)[0, -1, 3].backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert moved == {"domain_probe.weight", "domain_probe.bias"}


def test_the_domain_moves_the_model_when_it_is_asked_to(open_model: PromethiosForCausalLM) -> None:
    output = open_model(ordinary_ids(1, 12), domain_moves_model=True)
    output.domain_logits.log_softmax(-1)[0, -1, 3].backward()
    assert open_model.model.embed_tokens.weight.grad.abs().sum() > 0
    assert open_model.governance_heads.weight.grad is None


def test_learning_the_domain_changes_no_other_gradient(open_model: PromethiosForCausalLM) -> None:
    batch = {
        "labels": torch.tensor([301, 302]),
        "label_weights": torch.ones(2),
        "targets": torch.full((2, len(SCORE_NAMES)), 0.25),
        "review_costs": torch.full((2,), 0.4),
        "weights": torch.ones(2),
        "pairs": torch.tensor([[0, 1]]),
        "pair_kinds": torch.tensor([1]),
        "domain_slots": torch.tensor([2, 5]),
        "request_values": torch.tensor([[0.2, 0.5, 1.0], [0.9, float("nan"), 0.0]]),
        "evidence": torch.tensor([0, 7]),
        "competence": torch.rand(2, 5),
    }
    indices = {
        f"{name}_index": torch.tensor([i, i + 8])
        for i, name in enumerate(("request", "score", "logit", "evidence", "telemetry"))
    }

    def gradients(weight: float) -> dict[str, torch.Tensor]:
        open_model.zero_grad()
        output = open_model(ordinary_ids(2, 8), use_cache=False, **indices)
        read = {
            "domains": output.domain_logits,
            "requests": output.request_logits,
            "evidence": output.evidence_logits,
            "telemetry": output.telemetry_logits,
        }
        losses = governance_losses(output.logits, output.governance_scores, batch, **read)
        weighted_sum(losses, LossWeights(domain=weight)).backward()
        return {name: parameter.grad.clone() for name, parameter in open_model.named_parameters()}

    without, taught = gradients(0.0), gradients(1.0)
    changed = {name for name, gradient in without.items() if not torch.equal(gradient, taught[name])}
    assert changed == {"domain_probe.weight", "domain_probe.bias"}


def test_what_a_text_shows_is_taught_at_the_requests_end_and_moves_the_model(open_model: PromethiosForCausalLM) -> None:
    last = torch.tensor([3, 8])
    output = open_model(ordinary_ids(2, 6), logit_index=last, score_index=last, request_index=last)
    assert output.request_logits.shape == (2, 3)
    assert open_model(ordinary_ids(2, 6)).request_logits is None, "nobody asks for them outside training"
    output.request_logits[:, 0].sum().backward()
    assert open_model.model.embed_tokens.weight.grad.abs().sum() > 0
    assert open_model.domain_probe.weight.grad is None


def test_what_a_remark_shows_is_taught_where_it_ends(open_model: PromethiosForCausalLM) -> None:
    assert len(EVIDENCE) == NUM_EVIDENCE
    none, ends = torch.empty(0, dtype=torch.long), torch.tensor([1, 4])
    output = open_model(ordinary_ids(2, 6), logit_index=none, score_index=none, evidence_index=ends)
    assert output.evidence_logits.shape == (2, NUM_EVIDENCE)
    assert open_model(ordinary_ids(2, 6)).evidence_logits is None, "nobody asks for them outside training"
    output.evidence_logits[:, 0].sum().backward()
    assert open_model.model.embed_tokens.weight.grad.abs().sum() > 0


def test_what_telemetry_shows_is_taught_where_the_header_ends(open_model: PromethiosForCausalLM) -> None:
    assert len(LEVELS) == NUM_LEVELS
    none, last = torch.empty(0, dtype=torch.long), torch.tensor([3, 8, 9])
    output = open_model(ordinary_ids(2, 6), logit_index=none, score_index=none, telemetry_index=last)
    assert output.telemetry_logits.shape == (3, NUM_LEVELS)
    assert open_model(ordinary_ids(2, 6)).telemetry_logits is None, "nobody asks for them outside training"
    output.telemetry_logits.sum().backward()
    assert open_model.model.embed_tokens.weight.grad.abs().sum() > 0
    assert open_model.governance_heads.weight.grad is None or not open_model.governance_heads.weight.grad.any()


def test_a_folder_from_before_the_domain_probe_gives_what_it_gave(
    open_model: PromethiosForCausalLM, tmp_path: Path
) -> None:
    probe, open_model.domain_probe = open_model.domain_probe, None
    open_model.config.domain_probe = False
    open_model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["domain_probe"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        before = loaded(ordinary_ids(1, 9))
        open_model.domain_probe = probe
        after = open_model(ordinary_ids(1, 9))
    assert before.domain_logits is None
    assert torch.equal(before.governance_scores, after.governance_scores)
    other = [i for i in range(600) if i not in open_model.reserved.domain_ids]
    assert torch.equal(before.logits[..., other], after.logits[..., other])


def test_no_reserved_id_can_be_sampled_even_at_high_temperature(open_model: PromethiosForCausalLM) -> None:
    torch.manual_seed(0)
    ids = open_model.generate(
        ordinary_ids(8, 4), do_sample=True, temperature=3.0, top_k=0, min_new_tokens=60, max_new_tokens=60
    )
    assert not [i for i in ids[:, 4:].flatten().tolist() if i in open_model.reserved]


def test_packed_sequences_do_not_see_each_other(open_model: PromethiosForCausalLM) -> None:
    first, second = ordinary_ids(1, 11), ordinary_ids(1, 7) - 1
    positions = torch.tensor([[*range(11), *range(7)]])
    with torch.no_grad():
        packed = open_model(torch.cat([first, second], 1), position_ids=positions, use_cache=False).logits
        alone = torch.cat([open_model(first).logits, open_model(second).logits], 1)
    torch.testing.assert_close(packed, alone, atol=2e-5, rtol=0)


def test_index_arguments_select_the_same_logits_and_scores(open_model: PromethiosForCausalLM) -> None:
    ids = ordinary_ids(2, 6)
    with torch.no_grad():
        whole = open_model(ids)
        part = open_model(
            ids,
            logit_index=torch.tensor([3, 8]),
            score_index=torch.tensor([5, 11]),
            request_index=torch.tensor([0, 7, 9]),
        )
    ordinary = [i for i in range(600) if i not in open_model.reserved]
    torch.testing.assert_close(part.logits[:, ordinary], whole.logits.flatten(0, 1)[[3, 8]][:, ordinary])
    torch.testing.assert_close(part.governance_scores, whole.governance_scores.flatten(0, 1)[[5, 11]])
    torch.testing.assert_close(part.domain_logits, whole.domain_logits.flatten(0, 1)[[0, 7, 9]])


def test_a_saved_folder_holds_ordinary_rows_and_gives_the_same_output(
    open_model: PromethiosForCausalLM, tmp_path: Path
) -> None:
    open_model.save_pretrained(tmp_path)
    assert open_model.config.value_function is True
    assert open_model.config.teachers is True
    saved = load_file(tmp_path / "model.safetensors")
    assert not [name for name in saved if name.startswith(("value_embedding", "request_heads", "telemetry_heads"))]
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    ids = torch.cat([ordinary_ids(1, 5), torch.tensor([open_model.reserved.header(None, None)])], 1)
    ids = torch.cat([ids, torch.tensor([open_model.reserved.value_ids[::10]])], 1)
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, open_model(ids).logits)


@pytest.mark.parametrize("preset", ["nano", "small"])
def test_neighbouring_values_start_close_together_and_the_curve_does_not_kink(preset: str) -> None:
    torch.manual_seed(0)
    model = PromethiosForCausalLM(sentinel_config(load_run_config(preset).model))
    rows = model.value_embedding.rows()
    norm = rows.norm(dim=-1).mean()
    steps = (rows[1:] - rows[:-1]).norm(dim=-1)
    bends = (rows[2:] - 2 * rows[1:-1] + rows[:-2]).norm(dim=-1)
    assert steps.max() < 0.15 * norm  # of independent rows: 1.4 times the norm
    assert steps.max() < 2 * steps.min()
    assert bends.max() < 0.25 * steps.max()  # of independent rows: 1.7 times the step


@pytest.mark.parametrize("kind", ["smooth", "bins"])
def test_a_monotone_response_learned_from_every_tenth_value_is_monotone_in_between(kind: str) -> None:
    """Bins, where a value in between was never trained, do not have it: the test can fail."""
    torch.manual_seed(0)
    section = dataclasses.replace(load_run_config("nano").model, value_embedding=kind)
    model = PromethiosForCausalLM(sentinel_config(section))
    readout = torch.nn.Linear(section.hidden_size, 1)
    values = torch.tensor(model.reserved.value_ids)
    true = torch.linspace(3.0, -3.0, len(values))  # log-odds that fall as trust rises
    optimiser = torch.optim.Adam([*model.parameters(), *readout.parameters()], lr=3e-3)
    for _ in range(200):
        optimiser.zero_grad()
        functional.mse_loss(readout(model.embed(values[::10])).squeeze(-1), true[::10]).backward()
        optimiser.step()
    with torch.no_grad():
        response = readout(model.embed(values)).squeeze(-1)
    assert (response[::10] - true[::10]).abs().max() < 0.1, "it was learned"
    assert bool((response.diff() < 0).all()) == (kind == "smooth")


def test_bins_embed_each_number_by_a_row_of_its_own(tiny_section: ModelSection, tmp_path: Path) -> None:
    config = sentinel_config(dataclasses.replace(tiny_section, value_embedding="bins"))
    config.first_reserved_id = FIRST_RESERVED
    bins = PromethiosForCausalLM(config)
    assert not [name for name, _ in bins.named_parameters() if name.startswith("value_embedding")]
    values = torch.tensor([bins.reserved.value_ids])
    assert torch.equal(bins.embed(values), bins.model.embed_tokens.weight[values])
    bins.save_pretrained(tmp_path / "bins")
    smooth = PromethiosForCausalLM(sentinel_config(tiny_section))
    smooth.save_pretrained(tmp_path / "smooth")
    tensors = [load_file(tmp_path / name / "model.safetensors") for name in ("bins", "smooth")]
    assert {k: v.shape for k, v in tensors[0].items()} == {k: v.shape for k, v in tensors[1].items()}


def test_without_governance_modules_only_the_heads_are_left_and_they_learn(tiny_section: ModelSection) -> None:
    config = sentinel_config(dataclasses.replace(tiny_section, governance_modules=False))
    model = PromethiosForCausalLM(config)
    assert {name for name, _ in model.named_parameters() if "governance" in name} == {
        "governance_heads.weight",
        "governance_heads.bias",
    }
    model(ordinary_ids(1, 12)).governance_scores.sum().backward()
    assert model.governance_heads.weight.grad.abs().sum() > 0


def test_gradient_checkpointing_changes_no_gradient(open_model: PromethiosForCausalLM) -> None:
    def gradients() -> dict[str, torch.Tensor]:
        open_model.zero_grad()
        output = open_model(ordinary_ids(2, 16), use_cache=False)
        (output.governance_scores.square().mean() + output.logits.logsumexp(-1).mean()).backward()
        return {name: p.grad.clone() for name, p in open_model.named_parameters() if p.grad is not None}

    open_model.train()
    plain = gradients()
    open_model.gradient_checkpointing_enable()
    checkpointed = gradients()
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, msg=name)
