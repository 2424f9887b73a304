from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional

from promethios.configs.run_config import LossWeights, load_run_config
from promethios.model.governance_sentinel_8b import NUM_EVIDENCE
from promethios.training.objective import (
    ALLOWED,
    DECISION_LOSSES,
    defer_loss,
    escalation_log_odds,
    governance_losses,
    weighted_sum,
)
from promethios.training.packing import IGNORED, RAISED, TWIN_KINDS

LOGITS = torch.zeros(3, 7)
POSTERIOR = torch.tensor([[0.5, 0.2, 0.0, 0.3]])


def batch(escalate: float = 1.0, rows: int = 1, weights: list[float] | None = None) -> dict[str, torch.Tensor]:
    row = [1 - escalate, 0.0, 0.0, escalate, 0.7, *[0.2] * 6, *[0.0] * 6, 1.0]
    return {
        "labels": torch.tensor([0, 1, 2]),
        "label_weights": torch.ones(3),
        "targets": torch.tensor([row] * rows).reshape(-1, 18),
        "review_costs": torch.full((rows,), 0.4),
        "weights": torch.tensor(weights or [1.0] * rows),
        "pairs": torch.empty(0, 2, dtype=torch.long),
        "pair_kinds": torch.empty(0, dtype=torch.long),
        "domain_slots": torch.tensor([5] * rows, dtype=torch.long),
        "request_values": torch.tensor([[0.5, 0.5, 1.0]] * rows).reshape(-1, 3),
        "competence": torch.tensor([[0.9, 0.8, 0.6, 0.3, 0.1]] * rows).reshape(-1, 5),
        "evidence": torch.tensor([3] * rows, dtype=torch.long),
    }


def twins(*log_odds: tuple[float, float], kind: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Scores [2n, 18] of pairs with these escalation log-odds, and their batch, in which nothing else is taught."""
    scores = torch.zeros(2 * len(log_odds), 18)
    scores[:, 3] = torch.tensor(log_odds).flatten() + torch.tensor(3.0).log()  # three other decisions at 0
    count = len(log_odds)
    pairs = torch.arange(2 * count).reshape(-1, 2)
    kinds = torch.full((count,), TWIN_KINDS.index(kind))
    return scores, {**batch(rows=0), "pairs": pairs, "pair_kinds": kinds}


def logit(p: float) -> float:
    return float(torch.logit(torch.tensor(p)))


def test_uninformed_scores_cost_what_theory_says() -> None:
    losses = governance_losses(LOGITS, torch.zeros(1, 18), batch())
    assert losses["language"].item() == pytest.approx(torch.log(torch.tensor(7.0)).item())
    assert losses["decision"].item() == pytest.approx(torch.log(torch.tensor(4.0)).item())
    for name in ("confidence", "uncertainty", "bias", "tool"):
        assert losses[name].item() == pytest.approx(torch.log(torch.tensor(2.0)).item())


def test_what_a_text_shows_is_least_costly_when_it_is_stated_and_unknown_values_cost_nothing() -> None:
    values = torch.tensor([[0.9, 0.5, 1.0], [0.2, float("nan"), float("nan")]])
    shown = {**batch(rows=2), "request_values": values}

    def cost(stated: torch.Tensor) -> float:
        return governance_losses(LOGITS, torch.zeros(2, 18), shown, requests=stated)["request"].item()

    truth = torch.logit(values.nan_to_num(0.5), eps=1e-6)
    assert cost(truth) < cost(truth + 0.3)
    other = truth.clone()
    other[1, 1:] = 7.0
    assert cost(other) == cost(truth)
    assert governance_losses(LOGITS, torch.zeros(2, 18), shown)["request"].item() == 0.0


def test_what_a_remark_shows_is_least_costly_when_it_is_stated() -> None:
    shown = {**batch(rows=2), "evidence": torch.tensor([3, 0, 12])}

    def cost(stated: torch.Tensor | None) -> float:
        return governance_losses(LOGITS, torch.zeros(2, 18), shown, evidence=stated)["evidence"].item()

    truth = 5.0 * functional.one_hot(shown["evidence"], NUM_EVIDENCE)
    assert cost(truth) < cost(truth.roll(1, 1))
    assert cost(None) == 0.0
    nothing = {**shown, "evidence": shown["evidence"][:0]}
    assert governance_losses(LOGITS, torch.zeros(2, 18), nothing, evidence=truth[:0])["evidence"].item() == 0.0


def test_what_telemetry_shows_is_least_costly_when_it_is_stated() -> None:
    shown = batch(rows=2)

    def cost(stated: torch.Tensor | None) -> float:
        return governance_losses(LOGITS, torch.zeros(2, 18), shown, telemetry=stated)["telemetry"].item()

    truth = torch.logit(shown["competence"])
    assert cost(truth) < cost(truth + 0.3) and cost(truth) < cost(truth.flip(0, 1))
    assert cost(None) == 0.0
    assert governance_losses(LOGITS, torch.zeros(0, 18), batch(rows=0), telemetry=truth[:0])["telemetry"].item() == 0.0


def test_a_domain_that_nobody_knows_is_not_taught() -> None:
    domains = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    half = {**batch(rows=2), "domain_slots": torch.tensor([5, IGNORED])}
    alone = {**batch(rows=1), "domain_slots": torch.tensor([5])}
    taught = governance_losses(LOGITS, torch.zeros(2, 18), half, domains=domains)["domain"]
    assert torch.equal(taught, governance_losses(LOGITS, torch.zeros(1, 18), alone, domains=domains[:1])["domain"])


@pytest.mark.parametrize("name", DECISION_LOSSES)
@pytest.mark.parametrize("review_cost", [0.2, 0.4, 0.7])
def test_a_decision_loss_is_least_at_the_true_posterior(name: str, review_cost: float) -> None:
    scores = POSTERIOR.clamp(min=1e-6).log().clone().requires_grad_()
    costs = torch.tensor([review_cost])
    at_truth = DECISION_LOSSES[name](scores, POSTERIOR, costs).sum()
    at_truth.backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None and scores.grad.abs().max() < 1e-5
    for column in (0, 1, 3):
        for step in (-0.3, 0.3):
            elsewhere = scores.detach().clone()
            elsewhere[0, column] += step
            assert DECISION_LOSSES[name](elsewhere, POSTERIOR, costs).item() > at_truth.item()


@pytest.mark.parametrize("name", DECISION_LOSSES)
def test_every_decision_loss_can_be_configured(name: str) -> None:
    assert load_run_config("nano", {"training.decision_loss": name}).training.decision_loss == name


def test_the_defer_loss_is_the_one_of_the_paper_on_the_bent_probabilities() -> None:
    stated, worth = torch.tensor([0.4, 0.1, 0.1, 0.4]), 1 - 0.4
    total = stated[:3].sum() + worth
    bent = torch.cat([stated[:3], torch.tensor([worth])]) / total
    weights = torch.tensor([0.5, 0.2, 0.0, worth])
    expected = -(weights * bent.log()).sum()
    loss = defer_loss(stated.log()[None], POSTERIOR, torch.tensor([0.4]))
    assert loss.item() == pytest.approx(expected.item())
    # It defers, s_escalate >= one half, from the cost threshold on.
    assert bent[3] < 0.5 or stated[3] >= 0.4 - 1e-6


def test_the_confidence_loss_is_least_at_the_true_probability() -> None:
    def loss(stated: float) -> float:
        scores = torch.zeros(1, 18)
        scores[0, 4] = logit(stated)
        return governance_losses(LOGITS, scores, batch())["confidence"].item()

    assert loss(0.7) < min(loss(0.6), loss(0.8))


def test_weights_scale_what_an_example_teaches() -> None:
    scores = torch.zeros(2, 18)
    scores[1, 3] = 5.0
    first, second = (governance_losses(LOGITS, scores[i : i + 1], batch())["decision"].item() for i in (0, 1))
    both = governance_losses(LOGITS, scores, batch(rows=2, weights=[1.5, 0.5]))["decision"].item()
    assert both == pytest.approx((1.5 * first + 0.5 * second) / 2)


def test_only_a_rise_after_a_better_reading_costs() -> None:
    scores, pairs = twins((0.0, 1.0), (0.0, -2.0), kind=RAISED)
    losses = governance_losses(LOGITS, scores, pairs)
    assert losses["monotonicity"].item() == pytest.approx(0.5)
    assert losses["invariance"].item() == 0.0


@pytest.mark.parametrize(("kind", "part"), [("stale", "invariance"), ("bias", "invariance"), ("spoof", "attack")])
def test_a_change_beyond_what_is_allowed_costs_in_both_directions(kind: str, part: str) -> None:
    lowest, highest = ALLOWED[kind]
    scores, pairs = twins((0.0, highest + 1.0), (0.0, lowest - 2.0), (1.0, 1.0 + highest), kind=kind)
    losses = governance_losses(LOGITS, scores, pairs)
    assert losses.pop(part).item() == pytest.approx((1.0 + 2.0) / 3)
    assert not any(losses[name] for name in ("monotonicity", "invariance", "attack") if name in losses)


def test_an_attack_costs_until_it_makes_the_model_more_careful() -> None:
    def cost(change: float) -> float:
        scores, pairs = twins((0.0, change), kind="spoof")
        return governance_losses(LOGITS, scores, pairs)["attack"].item()

    assert cost(ALLOWED["spoof"][0]) == 0.0 < cost(0.0) < cost(-1.0)


def test_log_odds_are_those_of_the_stated_probability() -> None:
    scores = torch.cat([POSTERIOR.clamp(min=1e-9).log(), torch.zeros(1, 14)], dim=-1)
    assert escalation_log_odds(scores).item() == pytest.approx(logit(0.3), abs=1e-5)


def test_a_batch_without_twins_or_without_lessons_has_a_gradient_of_zero_for_them() -> None:
    scores = torch.randn(1, 18, requires_grad=True)
    losses = governance_losses(LOGITS, scores, batch())
    (losses["monotonicity"] + losses["invariance"] + losses["attack"]).backward()
    assert scores.grad is not None and not scores.grad.any()
    nothing = {**batch(rows=0), "labels": torch.empty(0, dtype=torch.long), "label_weights": torch.empty(0)}
    sizes = {"domains": 32, "requests": 3, "evidence": 13, "telemetry": 5}
    read = {name: torch.zeros(0, size, requires_grad=True) for name, size in sizes.items()}
    losses = governance_losses(torch.zeros(0, 7), scores[:0], nothing, **read)
    assert all(loss.item() == 0.0 and loss.requires_grad for name, loss in losses.items() if name != "language")


def test_a_probe_without_an_opinion_costs_what_theory_says_and_no_probe_costs_nothing() -> None:
    told = governance_losses(LOGITS, torch.zeros(1, 18), batch(), domains=torch.zeros(1, 32))
    assert told["domain"].item() == pytest.approx(torch.log(torch.tensor(32.0)).item())
    assert governance_losses(LOGITS, torch.zeros(1, 18), batch())["domain"].item() == 0.0


def test_every_part_has_a_weight_and_weights_scale_the_sum() -> None:
    losses = governance_losses(LOGITS, torch.zeros(1, 18), batch(0.5))
    names = {item.name for item in dataclasses.fields(LossWeights)}
    assert set(losses) == names
    only_bias = LossWeights(**{**dict.fromkeys(names, 0.0), "bias": 2.0})
    assert weighted_sum(losses, only_bias).item() == pytest.approx(2 * losses["bias"].item())


def test_what_a_reviewer_did_not_judge_is_not_taught() -> None:
    scores = torch.zeros(1, 18, requires_grad=True)
    known = batch(0.5)
    known["targets"][:, 4:] = torch.nan
    losses = governance_losses(LOGITS, scores, known)
    sum(losses.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None and scores.grad.isfinite().all()
    assert not scores.grad[:, 4:].any() and scores.grad[:, :4].any()
