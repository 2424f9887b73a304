"""A model so small that a run under torchrun takes seconds: overrides of `nano`."""

from __future__ import annotations

from typing import Any, Final

TINY_MODEL: Final[dict[str, Any]] = {
    "model.num_layers": 2,
    "model.hidden_size": 48,
    "model.intermediate_size": 96,
    "model.num_attention_heads": 2,
    "model.num_key_value_heads": 2,
    "model.vocab_size": 600,
    "training.sequence_length": 512,  # a small vocabulary makes long sequences
}
