"""The model in vLLM: its Transformers backend runs the decoder of the one modeling file; the heads are added here.

Scores, what the domain probe says and which principles fired leave through the reserved columns
(`write_score_columns`), so vLLM's stock `logprob_token_ids` reads them. They are asked for by hidden calls alone, which
have no grammar: structured outputs mask these columns in their own rows only, and nothing of vLLM has to be patched.

The shares of the principles' slots stand behind the hidden states in the model's output, whose rows vLLM picks and
hands to compute_logits whatever their width. Draft models would take them for hidden states; the gate needs a server
without those anyway.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.model_executor.models.transformers import TransformersForCausalLM

from promethios.model.governance_sentinel_8b import (
    ConstitutionalAnchor,
    DomainProbe,
    GovernanceHeads,
    write_score_columns,
)
from promethios.telemetry.header import ReservedIds


class PromethiosForVllm(TransformersForCausalLM):
    """PromethiosForCausalLM for vLLM; the parameters have the names of the checkpoint."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        config = vllm_config.model_config.hf_config
        self.governance_heads = GovernanceHeads(config)
        self.domain_probe = DomainProbe(config) if config.domain_probe else None
        self.reserved = ReservedIds(config.first_reserved_id)
        self.hidden_size = config.hidden_size
        # With pipeline parallelism the last anchor stands on the last rank, whose output alone reaches compute_logits.
        has_anchor = any(isinstance(module, ConstitutionalAnchor) for module in self.model.modules())
        self.model.shows_principles = self.pp_group.is_last_rank and has_anchor and bool(config.shown_principles)

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        """Return fp32 logits [positions, vocab] with score columns; None on a rank that does not gather them.

        hidden_states: [positions, hidden], in a model that shows its principles [positions, hidden + slots].
        """
        hidden, shares = hidden_states[:, : self.hidden_size].contiguous(), hidden_states[:, self.hidden_size :]
        logits = super().compute_logits(hidden)
        if logits is None:
            return None
        domains = None if self.domain_probe is None else self.domain_probe(hidden)
        shown = shares if self.model.shows_principles else None
        return write_score_columns(logits, self.governance_heads(hidden), self.reserved, domains, shown)
