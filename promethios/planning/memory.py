"""Memory of one rank in training: model states, buffers, activations, logits; README.md derives every number.

States follow ZeRO (arXiv 1910.02054) as DeepSpeed 0.19 lays them out, activations the method of Korthikanti et al.
(arXiv 2205.05198) for our layers: every tensor that autograd keeps, one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from promethios.configs.run_config import ModelSection, TrainingSection
from promethios.planning.parameters import NUM_FRAMEWORKS, attention_width, module_layers
from promethios.telemetry.header import NUM_UNCERTAINTY

FP32: Final = 4
ADAM_BYTES: Final = 8
BUCKET_ELEMENTS: Final = 500_000_000
LIVE_ELEMENTS: Final = 1_000_000_000
SUB_GROUP_ELEMENTS: Final = 1_000_000_000
"""DeepSpeed's defaults reduce_bucket_size, stage3_max_live_parameters and sub_group_size; we set none of them."""
LOGIT_BYTES: Final = 12
"""At the peak, in backward, per position and vocabulary entry: three fp32 tensors. Counted by a test."""
CHAT_POSITIONS: Final = 256
CHAT_LOGIT_BYTES: Final = 20
"""Preservation: the positions of a batch that are compared, and five fp32 tensors: backbone, model, a gradient."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one rank at the two moments that can be the peak: backward, and the optimizer's step.

    parameters, gradients, optimizer: what this rank holds of them. backbone_copy: frozen, for preservation.
    buffers: DeepSpeed's communication buckets and gathered parameters. activations: kept for backward. one_layer: what
    backward needs in one layer at a time. logits: with their gradients. step_copies: gradients flattened and in fp32,
    in the step only.
    """

    parameters: int
    gradients: int
    optimizer: int
    backbone_copy: int
    buffers: int
    activations: int
    one_layer: int
    logits: int
    step_copies: int

    @property
    def states(self) -> int:
        """Parameters, gradients and optimizer states."""
        return self.parameters + self.gradients + self.optimizer

    @property
    def peak(self) -> int:
        """The larger of the two moments."""
        backward = self.buffers + self.activations + max(self.one_layer, self.logits)
        return self.states + self.backbone_copy + max(backward, self.step_copies)


def training_memory(
    model: ModelSection,
    training: TrainingSection,
    *,
    in_memory: int,
    trained: int,
    ranks: int,
    predicted_share: float,
    backbone_copy: int = 0,
    chat_length: int = 0,
) -> Memory:
    """Return the memory of one rank.

    in_memory, trained: parameters of the model and those that move. predicted_share: of the positions, those whose
    logits are needed. backbone_copy: parameters of a frozen copy beside the model. chat_length: tokens of a
    conversation on which preservation compares the two, 0 without.
    """
    half = parameter_bytes(training)
    stage = training.zero_stage
    logits = training.batch_size * training.sequence_length * predicted_share * LOGIT_BYTES
    if chat_length:
        logits += CHAT_POSITIONS * CHAT_LOGIT_BYTES
    return Memory(
        parameters=half * in_memory // (ranks if stage == 3 else 1),
        gradients=_gradients(training, trained, ranks),
        optimizer=optimizer_bytes(training) * trained // (ranks if stage else 1),
        backbone_copy=half * backbone_copy,
        buffers=_buffers(training, in_memory, ranks),
        activations=activation_bytes(model, training, chat_length),
        one_layer=one_layer_bytes(model, training),
        logits=int(logits * model.vocab_size),
        step_copies=_step_copies(training, trained, ranks),
    )


def parameter_bytes(training: TrainingSection) -> int:
    """Return the bytes of one parameter, and of one gradient: 2 for bf16 and fp16, else 4."""
    return 2 if training.bf16 or training.fp16 else FP32


def optimizer_bytes(training: TrainingSection) -> int:
    """Return the bytes of optimizer state of one parameter: AdamW's two moments, and the fp32 master weight.

    What Muon trains has one moment, and is counted as if it had two. Plain fp32 without ZeRO needs no master weight;
    with ZeRO DeepSpeed keeps one all the same.
    """
    needs_master = parameter_bytes(training) < FP32 or training.zero_stage > 0
    return ADAM_BYTES + (FP32 if needs_master else 0)


def activation_bytes(model: ModelSection, training: TrainingSection, chat_length: int = 0) -> int:
    """Return the bytes that autograd keeps from forward to backward; with checkpointing only each layer's input."""
    positions = training.batch_size * (training.sequence_length + chat_length)
    half = parameter_bytes(training)
    head_dim = attention_width(model)[0] // model.num_attention_heads
    # Once for all layers: the last norm, and sine and cosine of the positions.
    shared = positions * (_norm_bytes(model.hidden_size, half) + 2 * half * head_dim)
    if training.gradient_checkpointing:
        return positions * half * model.hidden_size * model.num_layers + shared
    layers = range(1, model.num_layers + 1)
    return sum(_kept_bytes(model, training, layer, positions) for layer in layers) + shared


def one_layer_bytes(model: ModelSection, training: TrainingSection) -> int:
    """Return what backward needs in the largest layer: two gradients of the MLP's width; under checkpointing also
    the layer's activations, computed again."""
    positions = training.batch_size * training.sequence_length
    gradients = 2 * parameter_bytes(training) * model.intermediate_size * positions
    if not training.gradient_checkpointing:
        return gradients
    layers = range(1, model.num_layers + 1)
    return gradients + max(_kept_bytes(model, training, layer, positions) for layer in layers)


def _kept_bytes(model: ModelSection, training: TrainingSection, layer: int, positions: int) -> int:
    """Return what autograd keeps of one layer. The mask becomes a bias of the attention's own format in each."""
    half = parameter_bytes(training)
    mask = half * training.batch_size * training.sequence_length**2
    return positions * (_layer_bytes(model, half) + _modules_bytes(model, half, layer)) + mask


def _gradients(training: TrainingSection, trained: int, ranks: int) -> int:
    """Stage 2 sums micro batches up in a second copy of its share."""
    whole = parameter_bytes(training) * trained
    if training.zero_stage < 2:
        return whole
    copies = 2 if training.zero_stage == 2 and training.gradient_accumulation_steps > 1 else 1
    return copies * whole // ranks


def _buffers(training: TrainingSection, in_memory: int, ranks: int) -> int:
    """A bucket of gradients (allocated whole), its copy for the reduction, and under stage 3 gathered parameters."""
    half = parameter_bytes(training)
    copy = half * min(BUCKET_ELEMENTS, in_memory)
    if training.zero_stage == 0:
        return copy if ranks > 1 else 0
    gathered = half * min(LIVE_ELEMENTS, in_memory) if training.zero_stage == 3 else 0
    return half * BUCKET_ELEMENTS + copy + gathered


def _step_copies(training: TrainingSection, trained: int, ranks: int) -> int:
    """The step turns this rank's gradients into one flat fp32 tensor; stage 3 does so in groups."""
    half = parameter_bytes(training)
    as_fp32 = FP32 if half < FP32 else 0
    if training.zero_stage == 0:
        return as_fp32 * trained
    share = trained // ranks
    if training.zero_stage == 3:
        return half * BUCKET_ELEMENTS + (half + as_fp32) * min(share, SUB_GROUP_ELEMENTS)
    return (half + as_fp32) * share


def _norm_bytes(width: int, half: int) -> int:
    """RMS norm keeps its input in fp32 and the normalised one (one tensor in plain fp32), and gives its result."""
    return width * (FP32 + half if half < FP32 else 2 * FP32)


def _layer_bytes(model: ModelSection, half: int) -> int:
    """Return what one decoder layer keeps for a position: norms, attention with all heads expanded, gated MLP."""
    hidden, (queries, keys) = model.hidden_size, attention_width(model)
    norms = 2 * (_norm_bytes(hidden, half) + half * hidden)
    if model.qk_norm:
        norms += _norm_bytes(queries + keys, half)
    attention = 4 * half * queries + FP32 * model.num_attention_heads
    return norms + attention + 4 * half * model.intermediate_size


def _modules_bytes(model: ModelSection, half: int, layer: int) -> int:
    """Return what the governance modules after a layer keep for a position."""
    hidden, placed = model.hidden_size, module_layers(model)
    around = _norm_bytes(hidden, half) + half * hidden + half * hidden  # norm, its result, the branch before the gate
    kept = 0
    if layer in placed["anchor"]:
        slots = NUM_FRAMEWORKS * model.anchor_heads * model.num_principles
        kept += around + half * (2 * model.anchor_size + NUM_FRAMEWORKS * model.anchor_size)
        kept += slots * (FP32 + (half if half < FP32 else 0)) + half * NUM_FRAMEWORKS * 2
    if layer in placed["veritas"]:
        kept += around + half * (3 * model.veritas_rank + 2 * NUM_UNCERTAINTY)
    if layer in placed["tool"]:
        kept += around + half * 2 * model.tool_rank
    return kept
