"""Keep a pretrained backbone's behaviour: KL(backbone || model), in nats a token, on chat without a header.

The backbone is at hand without a second copy as long as its own weights stand still: the same model with its governance
modules passed by and its adapters off gives the backbone's logits bit for bit. Only where everything trains ("full") a
frozen copy is loaded, whole on each rank.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

from promethios.configs.run_config import Preservation
from promethios.data.example import Example
from promethios.errors import DatasetError
from promethios.model.adapters import without_adapters
from promethios.model.encoding import PromptEncoder
from promethios.model.governance_sentinel_8b import PromethiosForCausalLM
from promethios.training.new_model import unsharded
from promethios.training.packing import PackCollator, PackedDataset, Target
from promethios.training.stages import StageRun
from promethios.training.trainer import GovernanceTrainer

MAX_POSITIONS: Final = 256
"""Of a batch of chat, spread evenly: the logits of every position of a large vocabulary would not fit."""

Logits = Callable[..., torch.Tensor]


def read_conversations(data: str | None, examples: Sequence[Example]) -> list[Sequence[Mapping[str, Any]]]:
    """Return the conversations of a .jsonl file with `messages` on each line, or those of the examples.

    Raises DatasetError naming file and line.
    """
    if data is None:
        return [example.messages for example in examples]
    try:
        lines = Path(data).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"training.preservation.data {data}: cannot be read: {error}") from None
    conversations: list[Sequence[Mapping[str, Any]]] = [
        _messages(line, f"{data}:{number}") for number, line in enumerate(lines, 1)
    ]
    if not conversations:
        raise DatasetError(f"training.preservation.data {data}: the file is empty; give one JSON object a line")
    return conversations


def _messages(line: str, place: str) -> list[Mapping[str, Any]]:
    with contextlib.suppress(ValueError, TypeError, KeyError):
        messages = json.loads(line)["messages"]
        if messages and all(isinstance(m["role"], str) and isinstance(m["content"], str) for m in messages):
            return list(messages)
    raise DatasetError(f'{place}: must be a JSON object with "messages", each with a role and a content')


class ChatBesidePacks(Dataset[tuple[list[Target], list[int]]]):
    """Packs of a dataset, each with a conversation beside it, so that both are shuffled and resumed as one."""

    def __init__(self, packs: PackedDataset, chats: Sequence[list[int]]) -> None:
        self.packs, self.chats = packs, chats

    def __len__(self) -> int:
        return len(self.packs)

    def __getitem__(self, index: int) -> tuple[list[Target], list[int]]:
        return self.packs[index], self.chats[index % len(self.chats)]


@dataclass(frozen=True, slots=True)
class ChatCollator:
    """PackCollator's batch, and chat_ids [batch, time] with chat_index [R], positions in it, flattened."""

    packs: PackCollator

    def __call__(self, items: Sequence[tuple[list[Target], list[int]]]) -> dict[str, torch.Tensor]:
        """Return the batch."""
        batch = self.packs([pack for pack, _ in items])
        width = max(len(ids) for _, ids in items)
        index = [row * width + column for row, (_, ids) in enumerate(items) for column in range(len(ids))]
        step = -(-len(index) // MAX_POSITIONS)
        return batch | {
            "chat_ids": torch.tensor([ids + [self.packs.pad_id] * (width - len(ids)) for _, ids in items]),
            "chat_index": torch.tensor(index[::step]),
        }


@contextlib.contextmanager
def without_governance(model: PromethiosForCausalLM) -> Iterator[None]:
    """Pass the governance modules by: the decoder alone."""
    layers = list(model.model.layers)
    kept = [layer.governance for layer in layers]
    try:
        for layer in layers:
            layer.governance = nn.ModuleDict()
        yield
    finally:
        for layer, modules in zip(layers, kept, strict=True):
            layer.governance = modules


def beside(
    dataset: PackedDataset,
    collator: PackCollator,
    encoder: PromptEncoder,
    preservation: Preservation,
    examples: Sequence[Example],
) -> tuple[ChatBesidePacks, ChatCollator]:
    """Return the dataset and the collator with conversations beside the packs."""
    conversations = read_conversations(preservation.data, examples)
    chats = [encoder.chat(messages)[: collator.sequence_length] for messages in conversations]
    return ChatBesidePacks(dataset, chats), ChatCollator(collator)


def reference(stage: StageRun, model: PromethiosForCausalLM) -> Logits:
    """Return the backbone's logits in the cheapest way that is right for a stage."""
    if stage.train != "full":
        return backbone_inside(model)
    assert stage.backbone is not None
    dtype = torch.bfloat16 if stage.training.bf16 else torch.float32
    with unsharded():
        backbone = PromethiosForCausalLM.from_pretrained(stage.backbone, dtype=dtype, local_files_only=True)
    return backbone_beside(backbone.eval().requires_grad_(False))


def backbone_inside(model: PromethiosForCausalLM) -> Logits:
    """Return the backbone's logits, computed with the model that holds it, whose own weights stand still."""

    def logits(run: nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        with without_governance(model), without_adapters(model):
            return chat_logits(run, inputs)

    return logits


def backbone_beside(backbone: PromethiosForCausalLM) -> Logits:
    """Return the backbone's logits, computed with a frozen copy of it."""

    def logits(run: nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return chat_logits(backbone.to(inputs["chat_ids"].device), inputs)

    return logits


def chat_logits(model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the logits at the chosen positions of the chat, fp32 [R, vocab]."""
    no_scores = inputs["chat_index"][:0]
    output = model(
        input_ids=inputs["chat_ids"], logit_index=inputs["chat_index"], score_index=no_scores, use_cache=False
    )
    logits: torch.Tensor = output.logits
    return logits


def divergence(backbone: torch.Tensor, model: torch.Tensor) -> torch.Tensor:
    """Return KL(backbone || model) from logits [R, vocab], the mean in nats a token; 0 for equal logits."""
    return functional.kl_div(model.log_softmax(-1), backbone.log_softmax(-1), log_target=True, reduction="batchmean")


class PreservingTrainer(GovernanceTrainer):
    """GovernanceTrainer for ChatCollator's batches. backbone: gives its logits; weight: of the divergence."""

    def __init__(self, *, backbone: Logits, weight: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backbone, self.weight = backbone, weight

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the governance loss plus the weighted divergence from the backbone."""
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
        with torch.no_grad():
            reference = self.backbone(model, inputs)
        preservation = divergence(reference, chat_logits(model, inputs))
        self.record({"preservation": preservation})
        loss = loss + self.weight * preservation
        return (loss, outputs) if return_outputs else loss
