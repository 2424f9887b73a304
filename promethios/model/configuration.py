"""The model's Hugging Face configuration: a Llama-style decoder plus governance modules placed by layer."""

from __future__ import annotations

from typing import Final

from transformers.models.llama.configuration_llama import LlamaConfig

from promethios.telemetry.header import VALUE_TOKENS

FRAMEWORKS: Final = ("safety", "legal", "ethical")
"""Of the ontology, in the order of the anchors' slots."""


class PromethiosConfig(LlamaConfig):
    """Configuration of PromethiosForCausalLM; everything not named here is LlamaConfig's.

    first_reserved_id: vocabulary id of the first of `promethios.telemetry.header.RESERVED_TOKENS`.
    qk_norm: RMS-normalise queries and keys per head, as Qwen3 does.
    anchor_layers, veritas_layers, tool_layers: 1-based numbers of the decoder layers after which the module stands;
        None places them by depth (1/3, 2/3, 1; from .75 on; from .83 on), the seed's places scaled.
    anchor_size, anchor_heads, num_principles: width and heads of constitutional attention, slots per framework.
    principles: framework -> ids of the ontology's principles that its first slots stand for; later slots are free.
    veritas_rank, tool_rank: widths of the two bottlenecks.
    value_function: number tokens are embedded by one smooth function of the value (training form). A saved folder
        always holds the exported form, False, in which the function has been written into ordinary embedding rows.
    reserved_rows: the rows of the reserved tokens are a parameter of their own (training form beside a backbone whose
        rows must not move); False in a saved folder, too.
    domain_probe: the model has a probe for the domain of a request that names none. Folders made before there was one
        have none and stay valid.
    teachers: heads that teach what a text alone and what telemetry alone shows (training form); False in a saved
        folder, too.
    """

    model_type = "promethios"

    first_reserved_id: int = 0
    qk_norm: bool = False
    anchor_layers: list[int] | None = None
    veritas_layers: list[int] | None = None
    tool_layers: list[int] | None = None
    anchor_size: int = 1024
    anchor_heads: int = 8
    num_principles: int = 32
    veritas_rank: int = 256
    tool_rank: int = 128
    principles: dict[str, list[str]] | None = None
    value_function: bool = False
    reserved_rows: bool = False
    domain_probe: bool = False
    teachers: bool = False

    def __post_init__(self, **kwargs: object) -> None:
        depth = self.num_hidden_layers
        if self.anchor_layers is None:
            self.anchor_layers = sorted({max(1, round(depth / 3)), max(1, round(2 * depth / 3)), depth})
        if self.veritas_layers is None:
            self.veritas_layers = [n for n in range(1, depth + 1) if n >= 0.75 * depth]
        if self.tool_layers is None:
            self.tool_layers = [n for n in range(1, depth + 1) if n >= 0.83 * depth]
        if self.principles is not None:
            self.principles = dict(sorted(self.principles.items(), key=_slot_order))
        super().__post_init__(**kwargs)

    @property
    def shown_principles(self) -> dict[str, int]:
        """The principles whose shares serving shows, with their slots: framework after framework, from 0.

        There is a column for each number token; of more slots none is shown.
        """
        if len(FRAMEWORKS) * self.num_principles > len(VALUE_TOKENS):
            return {}
        return {
            principle: framework * self.num_principles + slot
            for framework, ids in enumerate((self.principles or {}).values())
            for slot, principle in enumerate(ids)
        }


def _slot_order(framework: tuple[str, list[str]]) -> tuple[int, str]:
    """Sort frameworks by their place among the slots: config.json is written in the order of the alphabet."""
    name, _ = framework
    return FRAMEWORKS.index(name) if name in FRAMEWORKS else len(FRAMEWORKS), name
