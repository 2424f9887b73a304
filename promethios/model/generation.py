"""Texts that the model writes, greedily: responses of many examples under given decisions, for evaluation to read."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from promethios.data.example import Example
from promethios.model.scoring import LoadedModel


def generate_responses(
    model: Path | LoadedModel,
    examples: Sequence[Example],
    decisions: Sequence[str],
    *,
    max_new_tokens: int = 96,
    batch_size: int = 64,
    progress: bool = True,
) -> list[str]:
    """Return the text that the model writes after each example's prompt, header and the given decision.

    model: a folder, or one that is loaded already.
    decisions: one of DECISIONS for each example; policy may force any of them, so they need not be the model's own.
    """
    loaded = LoadedModel.of(model)
    encoder = loaded.encoder
    prompts = [
        [*encoder.example_prompt(example), encoder.reserved.decision(decision)]
        for example, decision in zip(examples, decisions, strict=True)
    ]
    written = continue_prompts(loaded, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size, progress=progress)
    responses: list[str] = encoder.tokenizer.batch_decode(written, skip_special_tokens=True)
    return responses


def continue_prompts(
    loaded: LoadedModel,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    batch_size: int = 64,
    progress: bool = True,
) -> list[list[int]]:
    """Return the ids that the model writes greedily after each prompt, up to its end of turn, without it."""
    network, pad = loaded.model, loaded.model.config.pad_token_id
    ends = _end_ids(loaded)
    continuations: list[list[int]] = []
    with (
        torch.inference_mode(),
        tqdm(total=len(prompts), desc="generate", unit="text", disable=None if progress else True) as bar,
    ):
        for start in range(0, len(prompts), batch_size):
            batch = prompts[start : start + batch_size]
            width = max(map(len, batch))
            ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in batch], device=network.device)
            mask = torch.tensor(
                [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in batch], device=network.device
            )
            output = network.generate(ids, attention_mask=mask, max_new_tokens=max_new_tokens, do_sample=False)
            for ids_of_text in output[:, width:].tolist():
                continuations.append(list(itertools.takewhile(lambda token_id: token_id not in ends, ids_of_text)))
            bar.update(len(batch))
    return continuations


def _end_ids(loaded: LoadedModel) -> set[int]:
    """Return the ids that end a turn: the tokenizer's, and others that a backbone has."""
    of_network = loaded.model.generation_config.eos_token_id
    others = of_network if isinstance(of_network, list) else [of_network]
    return {loaded.encoder.tokenizer.eos_token_id, *others}
