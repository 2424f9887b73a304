"""From a configuration's `model` section to the model's own configuration, and its parameters by module."""

from __future__ import annotations

import torch
from transformers import PreTrainedTokenizerFast

from promethios.configs.run_config import ModelSection
from promethios.model.configuration import PromethiosConfig
from promethios.model.governance_sentinel_8b import PromethiosForCausalLM
from promethios.model.principles import principles_by_framework
from promethios.model.tokenizer import reserved_ids
from promethios.ontology.governance_ontology import load_ontology


def sentinel_config(section: ModelSection, tokenizer: PreTrainedTokenizerFast | None = None) -> PromethiosConfig:
    """Return the training form's configuration; the tokenizer gives the special and reserved ids."""
    ids = {}
    if tokenizer is not None:
        ids = {
            "first_reserved_id": reserved_ids(tokenizer).first,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
    modules = section.governance_modules
    return PromethiosConfig(
        vocab_size=section.vocab_size,
        hidden_size=section.hidden_size,
        intermediate_size=section.intermediate_size,
        num_hidden_layers=section.num_layers,
        num_attention_heads=section.num_attention_heads,
        num_key_value_heads=section.num_key_value_heads,
        head_dim=section.head_dim,
        max_position_embeddings=section.context_length,
        rope_parameters={"rope_type": "default", "rope_theta": section.rope_theta},
        qk_norm=section.qk_norm,
        tie_word_embeddings=section.tie_word_embeddings,
        anchor_layers=section.governance_layers if modules else [],
        veritas_layers=section.veritas_layers if modules else [],
        tool_layers=section.tool_layers if modules else [],
        anchor_size=section.anchor_size,
        anchor_heads=section.anchor_heads,
        num_principles=section.num_principles,
        principles=principles_by_framework(load_ontology()) if modules else None,
        veritas_rank=section.veritas_rank,
        tool_rank=section.tool_rank,
        initializer_range=section.initializer_range,
        value_function=section.value_embedding == "smooth",
        reserved_rows=section.from_pretrained is not None,
        domain_probe=True,
        teachers=True,
        architectures=["PromethiosForCausalLM"],
        **ids,
    )


def count_parameters(section: ModelSection) -> dict[str, int]:
    """Count parameters on the meta device, which allocates nothing: "total", "backbone" and "governance".

    Counted in the exported form, without the parameters that only training has.
    """
    config = sentinel_config(section)
    config.value_function = config.reserved_rows = config.teachers = False
    with torch.device("meta"):
        model = PromethiosForCausalLM(config)
    counts = {name: parameter.numel() for name, parameter in model.named_parameters()}
    governance = sum(n for name, n in counts.items() if "governance" in name or "domain_probe" in name)
    total = sum(counts.values())
    return {"total": total, "backbone": total - governance, "governance": governance}
