"""The model in vLLM: its Transformers backend runs the decoder of the one modeling file; the heads are added here.

Scores, and what the domain probe says, leave through the reserved columns (`write_score_columns`), so vLLM's stock
`logprob_token_ids` reads them. They are asked for by hidden calls alone, which have no grammar: structured outputs mask
these columns in their own rows only, and nothing of vLLM has to be patched for them.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.model_executor.models.transformers import TransformersForCausalLM

from promethios.model.governance_sentinel_8b import DomainProbe, GovernanceHeads, write_score_columns
from promethios.telemetry.header import ReservedIds


class PromethiosForVllm(TransformersForCausalLM):
    """PromethiosForCausalLM for vLLM; the parameters have the names of the checkpoint."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        config = vllm_config.model_config.hf_config
        self.governance_heads = GovernanceHeads(config)
        self.domain_probe = DomainProbe(config) if config.domain_probe else None
        self.reserved = ReservedIds(config.first_reserved_id)

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        """Return fp32 logits [positions, vocab] with score columns; None on a rank that does not gather them."""
        logits = super().compute_logits(hidden_states)
        if logits is None:
            return None
        domains = None if self.domain_probe is None else self.domain_probe(hidden_states)
        return write_score_columns(logits, self.governance_heads(hidden_states), self.reserved, domains)
