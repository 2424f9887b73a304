"""Parameters by module, counted from the configuration alone; a test holds them equal to the model's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from promethios.configs.run_config import ModelSection
from promethios.telemetry.header import NUM_DOMAIN_SLOTS, NUM_UNCERTAINTY, RESERVED_TOKENS, SCORE_NAMES

NUM_FRAMEWORKS: Final = 3
NUM_TAUGHT_READINGS: Final = 3 + 13 + 5
VALUE_FUNCTION_INPUTS: Final = 7
VALUE_FUNCTION_WIDTH: Final = 256
GOVERNANCE: Final = ("constitutional anchor", "emotional veritas", "tool cognition", "governance heads", "domain probe")


def module_layers(model: ModelSection) -> dict[str, list[int]]:
    """Return the decoder layers (1-based) after which anchor, veritas and tool modules stand."""
    depth = model.num_layers
    if not model.governance_modules:
        return {"anchor": [], "veritas": [], "tool": []}

    def given(layers: Sequence[int] | None, default: Sequence[int]) -> list[int]:
        return sorted(set(default if layers is None else layers))

    return {
        "anchor": given(model.governance_layers, [max(1, round(depth / 3)), max(1, round(2 * depth / 3)), depth]),
        "veritas": given(model.veritas_layers, [n for n in range(1, depth + 1) if n >= 0.75 * depth]),
        "tool": given(model.tool_layers, [n for n in range(1, depth + 1) if n >= 0.83 * depth]),
    }


def attention_width(model: ModelSection) -> tuple[int, int]:
    """Return the widths of all query heads and of all key heads together."""
    head_dim = model.head_dim or model.hidden_size // model.num_attention_heads
    return model.num_attention_heads * head_dim, model.num_key_value_heads * head_dim


def count_modules(model: ModelSection) -> dict[str, int]:
    """Return the parameters of a saved model by module; modules that it does not have are left out."""
    hidden, layers = model.hidden_size, model.num_layers
    queries, keys = attention_width(model)
    per_head_norms = 2 * (queries // model.num_attention_heads) if model.qk_norm else 0
    placed = module_layers(model)
    slots = 2 * NUM_FRAMEWORKS * model.num_principles * model.anchor_size
    anchor = hidden + 2 * hidden * model.anchor_size + NUM_FRAMEWORKS * (hidden + 1) + slots + 1
    veritas = hidden + 2 * hidden * model.veritas_rank + NUM_UNCERTAINTY * (2 * hidden + 1) + 1
    tool = hidden + 2 * hidden * model.tool_rank + 1
    counts = {
        "embeddings": model.vocab_size * hidden,
        "attention": layers * (2 * hidden * (queries + keys) + per_head_norms),
        "mlp": layers * 3 * hidden * model.intermediate_size,
        "norms": (2 * layers + 1) * hidden,
        "output head": 0 if model.tie_word_embeddings else model.vocab_size * hidden,
        "constitutional anchor": len(placed["anchor"]) * anchor,
        "emotional veritas": len(placed["veritas"]) * veritas,
        "tool cognition": len(placed["tool"]) * tool,
        "governance heads": len(SCORE_NAMES) * (hidden + 1),
        "domain probe": NUM_DOMAIN_SLOTS * (hidden + 1),
    }
    return {name: count for name, count in counts.items() if count}


def count_training_only(model: ModelSection) -> int:
    """Return the parameters that only training has: a save folds them into embedding rows, or drops the teachers."""
    hidden = model.hidden_size
    function = (VALUE_FUNCTION_INPUTS + 1) * VALUE_FUNCTION_WIDTH + (VALUE_FUNCTION_WIDTH + 1) * hidden
    rows = len(RESERVED_TOKENS) * hidden if model.from_pretrained else 0
    teachers = NUM_TAUGHT_READINGS * (hidden + 1)
    return (function if model.value_embedding == "smooth" else 0) + rows + teachers


def count_adapters(model: ModelSection, rank: int) -> int:
    """Return the parameters of LoRA adapters of this rank on the seven projections of every layer."""
    hidden, (queries, keys) = model.hidden_size, attention_width(model)
    inputs_and_outputs = 2 * (hidden + queries) + 2 * (hidden + keys) + 3 * (hidden + model.intermediate_size)
    return model.num_layers * rank * inputs_and_outputs


def count_trained(model: ModelSection, train: str, lora_rank: int) -> tuple[int, int]:
    """Return (all parameters in memory, those of them that a stage moves); `train` as in the configuration."""
    counts = count_modules(model)
    in_memory = sum(counts.values()) + count_training_only(model)
    if train == "full":
        return in_memory, in_memory
    adapters = count_adapters(model, lora_rank) if train == "lora" else 0
    new = sum(count for name, count in counts.items() if name in GOVERNANCE) + count_training_only(model)
    return in_memory + adapters, new + adapters
