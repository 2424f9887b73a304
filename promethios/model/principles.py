"""Constitutional slots that start from the ontology's principles: each named slot from the sentence it stands for.

With s the mean state of a sentence's tokens, and c = s minus the mean over all sentences (what they share would add the
same to every slot's score and cancel in the softmax):

    key    = W_q norm(s), centred      a token attends to the principle whose sentence its own state resembles
    value  = W_o^T c                   the principle writes back what its sentence looks like

both scaled to the unit variance of the free slots. For a pretrained backbone s is the hidden state at the anchor's
layer and carries the sentence's meaning. From scratch there is only the token embedding, which is random: a slot then
starts with a direction of its own, alike for sentences that share words, and with its name, but without meaning;
training gives it one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

from promethios.model.governance_sentinel_8b import ConstitutionalAnchor, PromethiosForCausalLM
from promethios.ontology.governance_ontology import Ontology, load_ontology


def principles_by_framework(ontology: Ontology) -> dict[str, list[str]]:
    """Return the ids of each framework's principles, in the ontology's order: the order of the slots."""
    return {
        framework: [principle.id for principle in ontology.principles.values() if principle.framework == framework]
        for framework in ontology.frameworks
    }


def principle_token_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, list[int]]:
    """Return the token ids of each principle's sentence by the principle's id."""
    return {
        principle.id: tokenizer.encode(principle.sentence, add_special_tokens=False)
        for principle in load_ontology().principles.values()
    }


def anchors(model: PromethiosForCausalLM) -> dict[int, ConstitutionalAnchor]:
    """Return the constitutional anchors by the number of the layer that they stand after."""
    return {
        int(name.split(".")[2]) + 1: module  # model.layers.N.governance.anchor
        for name, module in model.named_modules()
        if isinstance(module, ConstitutionalAnchor)
    }


@contextlib.contextmanager
def anchor_inputs(model: PromethiosForCausalLM) -> Iterator[dict[int, torch.Tensor]]:
    """Collect what enters each anchor, [batch, time, hidden] by layer, in the forward pass made in this context.

    With hooks that exist only here: the model that trains or serves records nothing and pays nothing.
    """
    inputs: dict[int, torch.Tensor] = {}
    with contextlib.ExitStack() as stack:
        for number, anchor in anchors(model).items():

            def keep(_: nn.Module, arguments: tuple[torch.Tensor, ...], number: int = number) -> None:
                inputs[number] = arguments[0]

            stack.callback(anchor.register_forward_pre_hook(keep).remove)
        yield inputs


@torch.no_grad()
def mean_embeddings(table: nn.Embedding, sentences: Mapping[str, Sequence[int]]) -> torch.Tensor:
    """Return the mean token embedding of each sentence, fp32 [sentences, hidden]."""
    return torch.stack([table.weight[list(ids)].float().mean(0) for ids in sentences.values()])


@torch.no_grad()
def mean_hidden_states(model: PromethiosForCausalLM, sentences: Mapping[str, Sequence[int]]) -> dict[int, torch.Tensor]:
    """Return, for each anchor's layer, the mean hidden state of each sentence, fp32 [sentences, hidden]."""
    states: dict[int, list[torch.Tensor]] = {number: [] for number in anchors(model)}
    for ids in sentences.values():
        with anchor_inputs(model) as inputs:
            model(torch.tensor([list(ids)], device=model.device), logits_to_keep=1, use_cache=False)
        for number, rows in states.items():
            rows.append(inputs[number][0].float().mean(0))
    return {number: torch.stack(rows) for number, rows in states.items()}


@torch.no_grad()
def write_principles(anchor: ConstitutionalAnchor, slots: Mapping[str, Sequence[str]], states: torch.Tensor) -> None:
    """Write the named slots' keys and values from their sentences' states; free slots stay as they are.

    slots: framework -> principle ids, as in PromethiosConfig.principles. states: [principles, hidden], in that order.
    """
    states = states.to(anchor.out.weight)
    keys = _unit_variance(anchor.query(anchor.norm(states)))
    values = _unit_variance(states @ anchor.out.weight)
    start = 0
    for framework, ids in enumerate(slots.values()):
        for parameter, rows in ((anchor.principle_keys, keys), (anchor.principle_values, values)):
            by_head = rows[start : start + len(ids)].view(len(ids), anchor.heads, anchor.head_dim)
            parameter[framework, :, : len(ids)] = by_head.transpose(0, 1)
        start += len(ids)


def _unit_variance(rows: torch.Tensor) -> torch.Tensor:
    """Return the rows centred over the principles and scaled to variance 1 in each row."""
    centred = rows - rows.mean(0)
    return centred / centred.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-12)
