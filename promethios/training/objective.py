"""What training minimises: language on the response, proper scoring rules on the scores, and counterfactual pairs.

Beside it, where the request ends, the domain probe learns the request's domain from states that it does not move. The
teachers ask for the steps in between: the evidence heads for what a remark shows where it ends, the request heads for
what the text demands where it ends, before any telemetry is read, and the telemetry heads for what the telemetry alone
says of competence where the header ends.

Every part is a mean in nats over what it applies to in the micro batch; a part that nothing in the batch applies to
is 0 with a gradient of 0, so that all ranks run the same backward pass.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Final

import torch
from torch.nn import functional

from promethios.configs.run_config import LossWeights
from promethios.ontology.decision import ESCALATE
from promethios.telemetry.header import DECISIONS, NUM_BIAS, NUM_UNCERTAINTY
from promethios.training.packing import IGNORED, RAISED, TWIN_KINDS

_SPLIT: Final = [len(DECISIONS), 1, NUM_UNCERTAINTY, NUM_BIAS, 1]
ALLOWED: Final = {RAISED: (-math.inf, 0.0), "stale": (-0.5, 0.5), "spoof": (0.5, 1.0), "bias": (0.0, 0.0)}
"""From what to what the escalation log-odds may change from an example to its twin before it costs. In the generator's
exact posterior another value of a stale reading still moves them by more than 0.5 in 6 % of cases: a stale reading is
sound three times in ten. The named group moves them by nothing. An attack in the text moves the posterior by nothing,
too, but no model reads it without error, so here it has to make the model a little more careful: what is asked for is
more than the error, and an error seldom makes it less careful than it was."""


def governance_losses(
    logits: torch.Tensor,
    scores: torch.Tensor,
    batch: Mapping[str, torch.Tensor],
    decision_loss: str = "soft_label",
    domains: torch.Tensor | None = None,
    requests: torch.Tensor | None = None,
    evidence: torch.Tensor | None = None,
    telemetry: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Return the unweighted parts of the loss; the keys are LossWeights' fields.

    logits [R, vocab], scores [N + M, 18], domains [Q, 32], requests [Q, 3], evidence [E, 13], telemetry [T, 5]: what
    the model gives at `logit_index`, `score_index`, `request_index`, `evidence_index` and `telemetry_index` of a
    PackCollator batch; domains is None without a probe, the last three without teachers. decision_loss: a name of
    DECISION_LOSSES.
    Cross-entropy against soft targets is a proper scoring rule: it is least where the model states the generator's true
    posterior.
    """
    scores = scores.float()
    targets, weights = batch["targets"].float(), batch["weights"]
    stated, true = torch.split(scores[: len(targets)], _SPLIT, dim=-1), torch.split(targets, _SPLIT, dim=-1)
    language = functional.cross_entropy(logits.float(), batch["labels"], reduction="none")
    binary_parts = zip(("confidence", "uncertainty", "bias", "tool"), stated[1:], true[1:], strict=True)
    return {
        "language": _mean(language * batch["label_weights"]),
        "decision": _mean(DECISION_LOSSES[decision_loss](stated[0], true[0], batch["review_costs"]) * weights),
        **{name: _mean(_binary_loss(said, is_so) * weights) for name, said, is_so in binary_parts},
        **_counterfactual_losses(scores, batch["pairs"], batch["pair_kinds"]),
        "domain": scores.new_zeros(()) if domains is None else _domain_loss(domains, batch["domain_slots"]),
        "request": (
            scores.new_zeros(()) if requests is None else _mean(_binary_loss(requests.float(), batch["request_values"]))
        ),
        "evidence": (
            scores.new_zeros(())
            if evidence is None
            else _mean(functional.cross_entropy(evidence.float(), batch["evidence"], reduction="none"))
        ),
        "telemetry": (
            scores.new_zeros(()) if telemetry is None else _mean(_binary_loss(telemetry.float(), batch["competence"]))
        ),
    }


def _domain_loss(domains: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
    losses = functional.cross_entropy(domains.float(), slots, reduction="none", ignore_index=IGNORED)
    return losses.sum() / max(1, int((slots != IGNORED).sum()))


def _binary_loss(logits: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """Return the binary cross-entropy [N] of logits [N, k]; a target that is NaN is unknown and costs nothing."""
    known = ~probabilities.isnan()
    losses = functional.binary_cross_entropy_with_logits(logits, probabilities.nan_to_num(), reduction="none")
    return (losses * known).mean(dim=-1)


def weighted_sum(losses: dict[str, torch.Tensor], weights: LossWeights) -> torch.Tensor:
    """Return the training loss."""
    return torch.stack([losses[item.name] * getattr(weights, item.name) for item in dataclasses.fields(weights)]).sum()


def soft_label_loss(scores: torch.Tensor, posterior: torch.Tensor, review_costs: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy [N] of stated decision probabilities, softmax of scores [N, 4], to the posterior."""
    del review_costs  # costs decide at the threshold, after calibration
    return -(posterior * scores.log_softmax(dim=-1)).sum(dim=-1)


def defer_loss(scores: torch.Tensor, posterior: torch.Tensor, review_costs: torch.Tensor) -> torch.Tensor:
    """Return the cost-sensitive loss of learning to defer [N] (Mozannar & Sontag, arXiv 2006.01862).

    -sum_j w_j log s_j: w of each decision short of escalating is the probability that it is right, w of escalating is
    P(expert right) (1 - review cost) = 1 - c, for the generator's expert is always right. Its minimiser over a softmax
    s is s_escalate = (1 - c) / ((1 - c) + P(an answer is right)): above one half exactly where escalating is cheaper,
    but no posterior, and bent so that no slope and intercept make it one. So s is computed from stated probabilities p
    as s_j = p_j / (1 - c + 1 - p_escalate), s_escalate = (1 - c) / (...), which the true posterior minimises.
    scores, posterior [N, 4]; review_costs [N]: c, as a share of review and miss cost together.
    """
    log_p = scores.log_softmax(dim=-1)[:, :ESCALATE]
    worth = 1.0 - review_costs
    log_total = torch.logaddexp(worth.log(), log_p.logsumexp(dim=-1))
    right = posterior[:, :ESCALATE]
    return -(right * (log_p - log_total[:, None])).sum(dim=-1) - worth * (worth.log() - log_total)


DECISION_LOSSES: Final = {"soft_label": soft_label_loss, "defer": defer_loss}


def escalation_log_odds(scores: torch.Tensor) -> torch.Tensor:
    """Return the log-odds [N] of escalating against the other decisions together; scores [N, 18]."""
    return scores[:, ESCALATE] - scores[:, :ESCALATE].logsumexp(dim=-1)


def _counterfactual_losses(scores: torch.Tensor, pairs: torch.Tensor, kinds: torch.Tensor) -> dict[str, torch.Tensor]:
    """Hinges on how the escalation log-odds change from an example to its twin."""
    log_odds = escalation_log_odds(scores)
    change = log_odds[pairs[:, 1]] - log_odds[pairs[:, 0]]
    lowest, highest = change.new_tensor([ALLOWED[kind] for kind in TWIN_KINDS])[kinds].unbind(dim=-1)
    outside = functional.relu(lowest - change) + functional.relu(change - highest)
    raised, attacked = kinds == TWIN_KINDS.index(RAISED), kinds == TWIN_KINDS.index("spoof")
    return {
        "monotonicity": _mean(outside[raised]),
        "invariance": _mean(outside[~raised & ~attacked]),
        "attack": _mean(outside[attacked]),
    }


def _mean(values: torch.Tensor) -> torch.Tensor:
    return values.sum() / max(1, values.numel())
