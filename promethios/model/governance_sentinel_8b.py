"""The model, in one file for training (Hugging Face, DeepSpeed) and for serving (vLLM's Transformers backend).

A Llama-style decoder with token-local governance modules after chosen layers (no KV cache of their own) and heads
that score the last header position. For 24 layers, the 8B preset, the modules stand as in the seed:

    layer  1 ........ 8 ........ 16 .. 18 . 20 .... 24
           constitutional anchor: 8, 16, 24
           emotional veritas:     18 ......... 24
           tool cognition:        20 ......... 24

Every module adds `tanh(gate) * branch(x)` with gate = 0 at the start and a branch that is not zero: the backbone is
untouched at step 0, and the gate still has a gradient (gate = 0 AND a zero branch would be dead).

Scores leave through reserved vocabulary columns: `logits[ref] = -100`, `logits[score_k] = score_k - 100`, so
`score_k = logprob(score_k) - logprob(ref)` in any engine that returns log-probabilities, while exp(-100) keeps the
columns from ever being sampled or moving another log-probability. The domain probe leaves in the same way through the
columns of the domain tokens, and in vLLM what the last anchor attended to through those of the number tokens. All other
reserved columns are at -1e4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, GenerationMixin, initialization
from transformers.modeling_outputs import ModelOutput
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaModel, LlamaPreTrainedModel, LlamaRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention

from promethios.model.adapters import merge_adapters
from promethios.model.configuration import FRAMEWORKS, PromethiosConfig
from promethios.telemetry.header import (
    NUM_DOMAIN_SLOTS,
    NUM_UNCERTAINTY,
    RESERVED_TOKENS,
    SCORE_NAMES,
    ReservedIds,
)
from promethios.telemetry.state import NUMBER_STEPS

REQUEST_READINGS: Final = ("demand", "difficulty", "affect")
"""What the request heads learn to read from a text alone, each in [0, 1]: fields of an example."""
NUM_EVIDENCE: Final = 13
"""What a remark can show: `promethios.data.causes.EVIDENCE`."""
NUM_LEVELS: Final = 5
"""Levels of competence that the telemetry heads are asked about: `promethios.data.competence.LEVELS`."""
VALUE_FUNCTION: Final = "value_function.st"
"""Beside the weights of a stage that another may follow: the function as such, from which the next one goes on. Tensors
in safetensors' format, under a name that loaders of weights pass over."""
TRAINING_ONLY: Final = ("value_embedding.", "reserved_rows.", "request_heads.", "evidence_heads.", "telemetry_heads.")
"""Beginnings of the names of the parameters that a saved folder does not have."""
NEW_PARAMETERS: Final = ("governance", "domain_probe.", *TRAINING_ONLY)
"""Parts of the names of the parameters that a plain Llama does not have."""
SCORE_OFFSET: Final = 100.0
UNREACHABLE: Final = -1e4
NUM_FRAMEWORKS: Final = len(FRAMEWORKS)


def _gated(x: torch.Tensor, gate: torch.Tensor, branch: torch.Tensor) -> torch.Tensor:
    return x + torch.tanh(gate) * branch


class ConstitutionalAnchor(nn.Module):
    """Gated attention from each token to learned principle slots of three frameworks.

    The frameworks' answers are mixed with weights in [0, 1] per token, so both the weights and the slot attention tell
    which principle fired. [..., hidden] -> [..., hidden]. After Flamingo's gated cross-attention (arXiv 2204.14198).
    """

    def __init__(self, config: PromethiosConfig) -> None:
        super().__init__()
        self.heads = config.anchor_heads
        self.head_dim = config.anchor_size // config.anchor_heads
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.query = nn.Linear(config.hidden_size, config.anchor_size, bias=False)
        self.framework = nn.Linear(config.hidden_size, NUM_FRAMEWORKS)
        shape = (NUM_FRAMEWORKS, self.heads, config.num_principles, self.head_dim)
        self.principle_keys = nn.Parameter(torch.empty(shape))
        self.principle_values = nn.Parameter(torch.empty(shape))
        self.out = nn.Linear(config.anchor_size, config.hidden_size, bias=False)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor, fired: list[torch.Tensor] | None = None) -> torch.Tensor:
        """Return x plus the gated branch; `fired` takes the slots' shares."""
        attention, weights = self.attend(x)
        if fired is not None:
            fired.append(self.shares(attention, weights))
        return _gated(x, self.gate, self.branch(attention, weights))

    def attend(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return slot attention [..., frameworks, heads, principles] and framework weights [..., frameworks]."""
        normed = self.norm(x)
        query = self.query(normed).unflatten(-1, (self.heads, self.head_dim))
        attention = torch.einsum("...hd,fhpd->...fhp", query, self.principle_keys) * self.head_dim**-0.5
        return attention.float().softmax(-1).to(query.dtype), torch.sigmoid(self.framework(normed))

    def shares(self, attention: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return each slot's share of what fired, [..., frameworks * principles]; they sum to 1.

        Of framework weight times attention, mean over heads, which sums to 1 in each framework.
        """
        framework = weights / weights.sum(-1, keepdim=True)
        return (framework.unsqueeze(-1) * attention.mean(-2)).flatten(-2)

    def branch(self, attention: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return what the principles have to say, [..., hidden], before the gate."""
        answers = torch.einsum("...fhp,fhpd->...fhd", attention, self.principle_values)
        mixed = torch.einsum("...f,...fhd->...hd", weights, answers).flatten(-2)
        spoken: torch.Tensor = self.out(mixed)
        return spoken


class EmotionalVeritas(nn.Module):
    """Gated bottleneck that feeds six uncertainty dimensions back into the residual stream."""

    def __init__(self, config: PromethiosConfig) -> None:
        super().__init__()
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.down = nn.Linear(config.hidden_size, config.veritas_rank, bias=False)
        self.uncertainty = nn.Linear(config.hidden_size, NUM_UNCERTAINTY)
        self.up = nn.Linear(config.veritas_rank + NUM_UNCERTAINTY, config.hidden_size, bias=False)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x plus the gated branch."""
        normed = self.norm(x)
        bottleneck = nn.functional.silu(self.down(normed))
        uncertainty = torch.sigmoid(self.uncertainty(normed))
        return _gated(x, self.gate, self.up(torch.cat([bottleneck, uncertainty], dim=-1)))


class ToolCognition(nn.Module):
    """Gated bottleneck for whether a tool is needed or its result can be relied on."""

    def __init__(self, config: PromethiosConfig) -> None:
        super().__init__()
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.down = nn.Linear(config.hidden_size, config.tool_rank, bias=False)
        self.up = nn.Linear(config.tool_rank, config.hidden_size, bias=False)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x plus the gated branch."""
        return _gated(x, self.gate, self.up(nn.functional.silu(self.down(self.norm(x)))))


def governance_modules(config: PromethiosConfig, layer: int) -> nn.ModuleDict:
    """Return the modules that stand after decoder layer `layer` (1-based), in the order in which they run."""
    placed: tuple[tuple[str, list[int] | None, Callable[[PromethiosConfig], nn.Module]], ...] = (
        ("anchor", config.anchor_layers, ConstitutionalAnchor),
        ("veritas", config.veritas_layers, EmotionalVeritas),
        ("tool", config.tool_layers, ToolCognition),
    )
    return nn.ModuleDict({name: module(config) for name, layers, module in placed if layer in (layers or ())})


class LinearReadout(nn.Module):
    """A linear map of hidden states in fp32, [..., hidden] -> [..., outputs], that starts from zero."""

    def __init__(self, hidden_size: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, hidden_size))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return raw outputs (logits) in fp32, also under autocast."""
        with torch.autocast(hidden.device.type, enabled=False):
            return nn.functional.linear(hidden.float(), self.weight.float(), self.bias.float())


class GovernanceHeads(LinearReadout):
    """All scores: [..., hidden] -> [..., 18] in SCORE_NAMES order."""

    def __init__(self, config: PromethiosConfig) -> None:
        super().__init__(config.hidden_size, len(SCORE_NAMES))


class DomainProbe(LinearReadout):
    """The domain of a request, read where its prompt ends and the header has not begun: [..., hidden] -> [..., 32].

    Logits of the ontology's domain slots, in fp32.
    """

    def __init__(self, config: PromethiosConfig) -> None:
        super().__init__(config.hidden_size, NUM_DOMAIN_SLOTS)


class RequestHeads(LinearReadout):
    """What the text alone shows, read where the prompt ends and the header has not begun: [..., hidden] -> [..., 3].

    Logits of REQUEST_READINGS, in fp32. A teacher: training has it, a saved folder does not. The telemetry's side of a
    decision is read from few tokens, the text's from a whole request; a soft label shows only the sum of the two.
    """

    def __init__(self, config: PromethiosConfig) -> None:
        super().__init__(config.hidden_size, len(REQUEST_READINGS))


class EvidenceHeads(LinearReadout):
    """What a remark of the text shows, read where the remark ends: [..., hidden] -> [..., 13].

    Logits of EVIDENCE, in fp32. A teacher like RequestHeads: what the whole text shows is a sum over its remarks, which
    hardly tells which of them to read how.
    """

    def __init__(self, config: PromethiosConfig) -> None:
        super().__init__(config.hidden_size, NUM_EVIDENCE)


class TelemetryHeads(LinearReadout):
    """What the telemetry alone shows, read where the header ends: [..., hidden] -> [..., 5].

    Logits of the probabilities that competence reaches each level, in fp32. A teacher like RequestHeads, and for the
    other side of the decision.
    """

    def __init__(self, config: PromethiosConfig) -> None:
        super().__init__(config.hidden_size, NUM_LEVELS)


def _taught(teacher: LinearReadout | None, hidden: torch.Tensor, index: torch.Tensor | None) -> torch.Tensor | None:
    """Return a teacher's logits at flattened positions of hidden [batch, time, hidden]; None unless both are there."""
    return None if teacher is None or index is None else teacher(hidden.flatten(0, 1)[index])


def unreachable_reserved_columns(logits: torch.Tensor, reserved: ReservedIds) -> torch.Tensor:
    """Return fp32 logits [..., vocab] in which no reserved id can be sampled."""
    logits = logits.float()
    return torch.cat(
        [
            logits[..., : reserved.first],
            logits.new_full((*logits.shape[:-1], reserved.end - reserved.first), UNREACHABLE),
            logits[..., reserved.end :],
        ],
        dim=-1,
    )


def write_score_columns(
    logits: torch.Tensor,
    scores: torch.Tensor,
    reserved: ReservedIds,
    domains: torch.Tensor | None = None,
    shares: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return fp32 logits [..., vocab] whose reserved columns carry the scores [..., 18] and nothing else.

    domains: the domain probe's logits [..., 32], of a model that has one; their columns carry log-probabilities.
    shares: of an anchor's slots [..., slots <= 101], where they are shown; the number tokens' columns carry them.
    fp32 is needed: bf16 has a step of 0.5 at -100.
    """
    reference, first = reserved.score_ids[:2]
    logits = unreachable_reserved_columns(logits, reserved)
    logits[..., reference] = -SCORE_OFFSET
    logits[..., first : first + scores.shape[-1]] = scores - SCORE_OFFSET
    if domains is not None:
        slot = reserved.domain_ids[0]
        logits[..., slot : slot + domains.shape[-1]] = domains.log_softmax(-1) - SCORE_OFFSET
    if shares is not None:
        column = reserved.value_ids[0]
        logits[..., column : column + shares.shape[-1]] = shares.float() - SCORE_OFFSET
    return logits


class ValueEmbedding(nn.Module):
    """Embed a number in [0, 1] by one smooth function, so that values never seen in training are read well.

    E(v) = W2 GELU(W1 f(v) + b1) + b2 with f(v) = [2v - 1, sin(2^k pi v), cos(2^k pi v)], k = 0, 1, 2.
    """

    HIDDEN = 256

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.up = nn.Linear(7, self.HIDDEN)
        self.down = nn.Linear(self.HIDDEN, hidden_size)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return the embeddings [..., hidden] of values [...]."""
        angles = values[..., None] * torch.pi * torch.tensor([1.0, 2.0, 4.0], device=values.device)
        features = torch.cat([2 * values[..., None] - 1, angles.sin(), angles.cos()], dim=-1)
        embedded: torch.Tensor = self.down(nn.functional.gelu(self.up(features.to(self.up.weight.dtype))))
        return embedded

    def rows(self) -> torch.Tensor:
        """Return the embeddings of the 101 grid values 0.00 ... 1.00, [101, hidden]."""
        device = self.up.weight.device
        embedded: torch.Tensor = self(torch.arange(NUMBER_STEPS + 1, device=device) / NUMBER_STEPS)
        return embedded


def value_function(state: Mapping[str, torch.Tensor], hidden_size: int) -> ValueEmbedding:
    """Return the value function, in fp32, of a model's state in the training form."""
    prefix = "value_embedding."
    function = ValueEmbedding(hidden_size)
    function.load_state_dict(
        {name.removeprefix(prefix): tensor.float() for name, tensor in state.items() if name.startswith(prefix)}
    )
    return function


class PromethiosDecoderLayer(LlamaDecoderLayer):
    """A Llama layer followed by the governance modules that stand after it."""

    def __init__(self, config: PromethiosConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        if config.qk_norm:
            self.self_attn = Qwen3Attention(config, layer_idx)
        self.governance = governance_modules(config, layer_idx + 1)

    def forward(
        self, hidden_states: torch.Tensor, *args: Any, fired: list[torch.Tensor] | None = None, **kwargs: Any
    ) -> torch.Tensor:
        """Return the layer's hidden states, [batch, time, hidden]; `fired` takes what an anchor here attended to."""
        hidden_states = super().forward(hidden_states, *args, **kwargs)
        for module in self.governance.values():
            is_anchor = isinstance(module, ConstitutionalAnchor)
            hidden_states = module(hidden_states, fired) if is_anchor else module(hidden_states)
        return hidden_states


class PromethiosPreTrainedModel(LlamaPreTrainedModel):
    """What the backbone and the full model share: configuration class and weight initialisation."""

    config_class = PromethiosConfig
    _no_split_modules: ClassVar = ["PromethiosDecoderLayer"]
    _can_record_outputs: ClassVar = {
        "hidden_states": PromethiosDecoderLayer,
        "attentions": LlamaPreTrainedModel._can_record_outputs["attentions"],
    }

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ConstitutionalAnchor):
            # Unit-variance slots: an attention over near-zero keys would start uniform and stay so for long.
            initialization.normal_(module.principle_keys)
            initialization.normal_(module.principle_values)
        if isinstance(module, ConstitutionalAnchor | EmotionalVeritas | ToolCognition):
            initialization.zeros_(module.gate)
        if isinstance(module, LinearReadout):
            initialization.zeros_(module.weight)
            initialization.zeros_(module.bias)


class PromethiosModel(PromethiosPreTrainedModel, LlamaModel):
    """The decoder without heads: token ids or embeddings to hidden states."""

    shows_principles = False
    """True gives vLLM a tuple whose hidden states [batch, time, hidden] are followed, in the last dimension, by the
    slots' shares at the last anchor: the one way out of a compiled model that runs as a CUDA graph."""

    def __init__(self, config: PromethiosConfig) -> None:
        LlamaModel.__init__(self, config)
        self.layers = nn.ModuleList(
            [PromethiosDecoderLayer(config, index) for index in range(config.num_hidden_layers)]
        )
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        *,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the decoder, as LlamaModel does; see `shows_principles`. vLLM compiles along the named arguments."""
        inputs = {"input_ids": input_ids, "position_ids": position_ids, "inputs_embeds": inputs_embeds}
        if not self.shows_principles:
            return super().forward(**inputs, **kwargs)
        fired: list[torch.Tensor] = []
        hidden, *others = super().forward(**inputs, fired=fired, **kwargs)[:]
        return torch.cat([hidden, fired[-1]], dim=-1), *others


@dataclass
class PromethiosOutput(ModelOutput):
    """Output of PromethiosForCausalLM.

    logits: fp32 [batch, time, vocab], or [positions, vocab] when `logit_index` was given.
    governance_scores: fp32 [batch, time, 18] in SCORE_NAMES order, or [positions, 18] when `score_index` was given.
    domain_logits: fp32 [batch, time, 32], or [positions, 32] when `request_index` was given; None without a probe.
    request_logits: fp32 [positions, 3] in REQUEST_READINGS order; None without `request_index` or teachers.
    evidence_logits: fp32 [positions, 13] in EVIDENCE order; None without `evidence_index` or teachers.
    telemetry_logits: fp32 [positions, 5] by level of competence; None without `telemetry_index` or teachers.
    """

    logits: torch.Tensor | None = None
    governance_scores: torch.Tensor | None = None
    domain_logits: torch.Tensor | None = None
    request_logits: torch.Tensor | None = None
    evidence_logits: torch.Tensor | None = None
    telemetry_logits: torch.Tensor | None = None
    past_key_values: Any = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class PromethiosForCausalLM(PromethiosPreTrainedModel, GenerationMixin):
    """The governance-native language model: next-token logits and governance scores from one forward pass."""

    _tied_weights_keys: ClassVar = {"lm_head.weight": "model.embed_tokens.weight"}
    _tp_plan: ClassVar = {"lm_head": "colwise_gather_output"}
    _pp_plan: ClassVar = {"lm_head": (["hidden_states"], ["logits"])}

    def __init__(self, config: PromethiosConfig) -> None:
        super().__init__(config)
        self.model = PromethiosModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.governance_heads = GovernanceHeads(config)
        self.domain_probe = DomainProbe(config) if config.domain_probe else None
        self.request_heads = RequestHeads(config) if config.teachers else None
        self.evidence_heads = EvidenceHeads(config) if config.teachers else None
        self.telemetry_heads = TelemetryHeads(config) if config.teachers else None
        self.value_embedding = ValueEmbedding(config.hidden_size) if config.value_function else None
        self.reserved_rows = nn.Embedding(len(RESERVED_TOKENS), config.hidden_size) if config.reserved_rows else None
        self.reserved = ReservedIds(config.first_reserved_id)
        self.post_init()

    def embed(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Embed token ids [batch, time]; in the training form numbers go through the smooth value function."""
        embedded: torch.Tensor = self.model.embed_tokens(input_ids)
        if self.reserved_rows is not None:
            offset = input_ids - self.reserved.first
            is_reserved = (offset >= 0) & (offset < len(RESERVED_TOKENS))
            rows = self.reserved_rows(offset.clamp(0, len(RESERVED_TOKENS) - 1))
            embedded = torch.where(is_reserved[..., None], rows.to(embedded.dtype), embedded)
        if self.value_embedding is None:
            return embedded
        step = input_ids - self.reserved.value_ids[0]
        is_value = (step >= 0) & (step <= NUMBER_STEPS)
        values = self.value_embedding.rows()[step.clamp(0, NUMBER_STEPS)]
        return torch.where(is_value[..., None], values.to(embedded.dtype), embedded)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        logit_index: torch.Tensor | None = None,
        score_index: torch.Tensor | None = None,
        request_index: torch.Tensor | None = None,
        evidence_index: torch.Tensor | None = None,
        telemetry_index: torch.Tensor | None = None,
        domain_moves_model: bool = False,
        **kwargs: Any,
    ) -> PromethiosOutput:
        """Run the model; see PromethiosOutput for shapes.

        Packed sequences: leave attention_mask out and let position_ids restart at 0 with each sequence.
        logit_index, score_index, request_index, evidence_index, telemetry_index: positions in the flattened
        [batch * time] at which logits, scores, the logits of probe and request heads, and those of the evidence and of
        the telemetry heads are wanted; training asks only for the response, the decision positions, the last ids of
        requests, remarks and headers, which saves most of the vocabulary's cost.
        domain_moves_model: the probe's gradient reaches what it reads; otherwise the rest of the model trains as if
        there were no probe.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("give input_ids or inputs_embeds")
            inputs_embeds = self.embed(input_ids)
        outputs = self.model(
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        hidden = outputs.last_hidden_state
        kept = hidden[:, slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep, :]
        at_logits = kept if logit_index is None else hidden.flatten(0, 1)[logit_index]
        at_scores = kept if score_index is None else hidden.flatten(0, 1)[score_index]
        at_requests = kept if request_index is None else hidden.flatten(0, 1)[request_index]
        scores = self.governance_heads(at_scores)
        heads = None if request_index is None else self.request_heads
        requests = None if heads is None else heads(at_requests)
        evidence = _taught(self.evidence_heads, hidden, evidence_index)
        telemetry = _taught(self.telemetry_heads, hidden, telemetry_index)
        if not domain_moves_model:
            at_requests = at_requests.detach()
        domains = None if self.domain_probe is None else self.domain_probe(at_requests)
        logits = self.lm_head(at_logits)
        if logit_index is None:
            logits = write_score_columns(logits, scores, self.reserved, domains)
        else:
            logits = unreachable_reserved_columns(logits, self.reserved)
        return PromethiosOutput(
            logits=logits,
            governance_scores=scores,
            domain_logits=domains,
            request_logits=requests,
            evidence_logits=evidence,
            telemetry_logits=telemetry,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def save_pretrained(
        self, save_directory: str | Path, state_dict: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Save the exported form: what only training has is written into ordinary weights and left out.

        So every saved folder, checkpoints included, loads in `from_pretrained` and in vLLM.
        """
        state = merge_adapters(self.state_dict() if state_dict is None else state_dict)
        table = state["model.embed_tokens.weight"].clone()
        with torch.no_grad():
            if self.reserved_rows is not None:
                table[self.reserved.first : self.reserved.end] = state.pop("reserved_rows.weight").to(table)
            if self.value_embedding is not None:
                function = value_function(state, self.config.hidden_size)
                table[list(self.reserved.value_ids)] = function.to(table.device).rows().to(table.dtype)
        state = {name: tensor for name, tensor in state.items() if not name.startswith(TRAINING_ONLY)}
        state["model.embed_tokens.weight"] = table
        if self.config.tie_word_embeddings:
            state["lm_head.weight"] = table
        config = self.config
        training_form = config.value_function, config.reserved_rows, config.teachers
        config.value_function = config.reserved_rows = config.teachers = False
        try:
            super().save_pretrained(save_directory, state_dict=state, **kwargs)
        finally:
            config.value_function, config.reserved_rows, config.teachers = training_form
        if config.value_function and config.reserved_rows:
            save_file(function.state_dict(), Path(save_directory) / VALUE_FUNCTION)


AutoConfig.register("promethios", PromethiosConfig, exist_ok=True)
AutoModel.register(PromethiosConfig, PromethiosModel, exist_ok=True)
AutoModelForCausalLM.register(PromethiosConfig, PromethiosForCausalLM, exist_ok=True)
