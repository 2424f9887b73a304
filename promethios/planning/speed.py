"""Model FLOPs of a training, the optimizer's where they count, and what a node delivers of them."""

from __future__ import annotations

from typing import Final

from promethios.configs.run_config import ModelSection
from promethios.planning.nodes import Node
from promethios.planning.parameters import attention_width, count_modules

ITERATIONS: Final = 5
"""Newton and Schulz's, in which Muon makes a matrix orthogonal."""
SMALLEST_PUBLISHED: Final = 1_000_000_000
"""Parameters; published utilisations are of models of 3 to 13 B, and far smaller ones reach far less."""


def flops_per_position(
    model: ModelSection, sequence_length: int, predicted_share: float, trained_share: float = 1.0
) -> float:
    """Return the model FLOPs of training on one position: PaLM's count (arXiv 2204.02311, appendix B).

    6 for each parameter that multiplies (4 where its weight stands still), 12 x layers x query width x length for
    attention. Looking up embeddings costs nothing, and the domain probe, one position an example, next to nothing; the
    output head is computed at the responses only. Recomputation under checkpointing is not counted: it lowers the
    utilisation instead.
    """
    counts = count_modules(model)
    head = model.vocab_size * model.hidden_size
    elsewhere = counts["embeddings"] + counts["domain probe"] + counts.get("output head", 0)
    multiplying = sum(counts.values()) - elsewhere + head * predicted_share
    attention = 12 * model.num_layers * attention_width(model)[0] * sequence_length
    return (4 + 2 * trained_share) * multiplying + attention


def muon_flops(model: ModelSection) -> float:
    """Return the FLOPs of Muon's part of one step: the matrices of attention and MLP (all others are far smaller).

    Each of the ITERATIONS on a matrix of m rows and n >= m columns costs 4 m^2 n + 2 m^3. Once a step, however many
    tokens it has: a third of what nano's steps of 2,048 positions compute, and next to nothing of a step of 8B.
    """
    queries, keys = attention_width(model)
    widths = (queries, queries, keys, keys, *[model.intermediate_size] * 3)
    total = 0
    for width in widths:
        rows, columns = sorted((width, model.hidden_size))
        total += ITERATIONS * (4 * rows**2 * columns + 2 * rows**3)
    return float(model.num_layers * total)


def delivered_flops(model: ModelSection, node: Node) -> dict[float, float]:
    """Return FLOPs a second by model FLOPs utilisation (MFU), the typical and the best published one.

    Empty where nothing was published: on that accelerator, or for so small a model.
    """
    accelerator = node.accelerator
    if not accelerator.is_gpu:
        return {1.0: accelerator.peak_flops}
    if sum(count_modules(model).values()) < SMALLEST_PUBLISHED:
        return {}
    return {mfu: accelerator.peak_flops * node.count * mfu for mfu in accelerator.mfu}
