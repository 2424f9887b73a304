from __future__ import annotations

import dataclasses

import pytest
import torch

from promethios.configs.run_config import LossWeights
from promethios.training.objective import governance_losses, weighted_sum

LOGITS, LABELS = torch.zeros(3, 7), torch.tensor([0, 1, 2])


def targets(escalate: float) -> torch.Tensor:
    row = [1 - escalate, 0.0, 0.0, escalate, 0.7, *[0.2] * 6, *[0.0] * 6, 1.0]
    return torch.tensor([row])


def logit(p: float) -> float:
    return float(torch.logit(torch.tensor(p)))


def test_uninformed_scores_cost_what_theory_says() -> None:
    losses = governance_losses(LOGITS, LABELS, torch.zeros(1, 18), targets(1.0))
    assert losses["language"].item() == pytest.approx(torch.log(torch.tensor(7.0)).item())
    assert losses["decision"].item() == pytest.approx(torch.log(torch.tensor(4.0)).item())
    for name in ("confidence", "uncertainty", "bias", "tool"):
        assert losses[name].item() == pytest.approx(torch.log(torch.tensor(2.0)).item())


def test_the_decision_loss_is_least_at_the_true_posterior() -> None:
    def loss(stated: float) -> float:
        scores = torch.zeros(1, 18)
        scores[0, :4] = torch.tensor([1 - stated, 1e-9, 1e-9, stated]).log()
        return governance_losses(LOGITS, LABELS, scores, targets(0.3))["decision"].item()

    assert loss(0.3) < min(loss(0.2), loss(0.4))


def test_the_confidence_loss_is_least_at_the_true_probability() -> None:
    def loss(stated: float) -> float:
        scores = torch.zeros(1, 18)
        scores[0, 4] = logit(stated)
        return governance_losses(LOGITS, LABELS, scores, targets(0.0))["confidence"].item()

    assert loss(0.7) < min(loss(0.6), loss(0.8))


def test_every_part_has_a_weight_and_weights_scale_the_sum() -> None:
    losses = governance_losses(LOGITS, LABELS, torch.zeros(1, 18), targets(0.5))
    assert set(losses) == {item.name for item in dataclasses.fields(LossWeights)}
    only_bias = LossWeights(language=0, decision=0, confidence=0, uncertainty=0, bias=2.0, tool=0)
    assert weighted_sum(losses, only_bias).item() == pytest.approx(2 * losses["bias"].item())
