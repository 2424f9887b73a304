"""What training minimises: language on the response, and proper scoring rules on the governance scores."""

from __future__ import annotations

import dataclasses

import torch
from torch.nn import functional

from promethios.configs.run_config import LossWeights
from promethios.telemetry.header import DECISIONS, NUM_BIAS, NUM_UNCERTAINTY

_SPLIT = [len(DECISIONS), 1, NUM_UNCERTAINTY, NUM_BIAS, 1]


def governance_losses(
    logits: torch.Tensor, labels: torch.Tensor, scores: torch.Tensor, targets: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return the unweighted parts of the loss, each a mean in nats; the keys are LossWeights' fields.

    logits [R, vocab], labels [R]: the response. scores [N, 18], targets [N, 18] in [0, 1]: raw scores and soft targets
    in SCORE_NAMES order. Cross-entropy against soft targets is a proper scoring rule: it is least where the model
    states the generator's true posterior.
    """
    stated = torch.split(scores.float(), _SPLIT, dim=-1)
    true = torch.split(targets.float(), _SPLIT, dim=-1)
    binary_parts = zip(("confidence", "uncertainty", "bias", "tool"), stated[1:], true[1:], strict=True)
    return {
        "language": functional.cross_entropy(logits.float(), labels),
        "decision": functional.cross_entropy(stated[0], true[0]),
        **{name: functional.binary_cross_entropy_with_logits(said, is_so) for name, said, is_so in binary_parts},
    }


def weighted_sum(losses: dict[str, torch.Tensor], weights: LossWeights) -> torch.Tensor:
    """Return the training loss."""
    return torch.stack([losses[item.name] * getattr(weights, item.name) for item in dataclasses.fields(weights)]).sum()
