"""Which principles fired for one request: what the anchors attended to at the position where the model decides.

Attention says where the model looked, not why it decided so (Jain & Wallace, "Attention is not Explanation",
arXiv 1902.10186): an attribution, to be read as a hint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from promethios.model.governance_sentinel_8b import ConstitutionalAnchor, PromethiosForCausalLM
from promethios.model.principles import anchor_inputs, anchors


@dataclass(frozen=True, slots=True)
class FiredPrinciple:
    """One slot at one anchor: its framework's weight in [0, 1] and its share of that framework's attention.

    principle: the ontology's id; None for a free slot, which training alone gave a meaning. slot: counted from 0.
    share: of the anchor's whole strength; that of the last anchor is what serving shows as `governance.principles`.
    """

    framework: str
    principle: str | None
    slot: int
    framework_weight: float
    attention: float
    share: float

    @property
    def strength(self) -> float:
        """Framework weight times attention: how much of the slot's value enters the anchor's branch."""
        return self.framework_weight * self.attention


@dataclass(frozen=True, slots=True)
class AnchorReading:
    """One anchor. layer: that it stands after. gate: tanh of the gate, in (-1, 1); 0 is closed.

    change: length of what the anchor adds to the hidden state, as a share of the state's own length. fired: all slots,
    the strongest first.
    """

    layer: int
    gate: float
    change: float
    fired: tuple[FiredPrinciple, ...]


@torch.inference_mode()
def read_request(model: PromethiosForCausalLM, ids: Sequence[int]) -> tuple[list[float], list[AnchorReading]]:
    """Return the raw scores (SCORE_NAMES order) and the anchors at the last id of a prompt that ends in a header."""
    with anchor_inputs(model) as inputs:
        output = model(torch.tensor([list(ids)], device=model.device), logits_to_keep=1, use_cache=False)
    readings = [
        _reading(number, anchor, inputs[number][0, -1], model.config.principles)
        for number, anchor in anchors(model).items()
    ]
    return output.governance_scores[0, -1].tolist(), readings


def _reading(
    layer: int, anchor: ConstitutionalAnchor, state: torch.Tensor, names: dict[str, list[str]] | None
) -> AnchorReading:
    attention, weights = anchor.attend(state)
    gate = torch.tanh(anchor.gate)
    added = gate * anchor.branch(attention, weights)
    by_slot = attention.float().mean(-2).tolist()  # over heads: [frameworks, principles]
    by_framework = weights.float().tolist()
    whole = sum(by_framework)  # attention sums to 1 in each framework
    frameworks = list(names or {}) or [f"framework {number}" for number in range(len(by_slot))]
    fired = [
        FiredPrinciple(
            framework=framework,
            principle=named[slot] if slot < len(named) else None,
            slot=slot,
            framework_weight=weight,
            attention=looked,
            share=weight * looked / whole,
        )
        for framework, weight, shares in zip(frameworks, by_framework, by_slot, strict=True)
        for named in [(names or {}).get(framework, [])]
        for slot, looked in enumerate(shares)
    ]
    return AnchorReading(
        layer=layer,
        gate=gate.item(),
        change=(added.float().norm() / state.float().norm()).item(),
        fired=tuple(sorted(fired, key=lambda principle: -principle.strength)),
    )
