"""Responses of many examples under given decisions, greedily: what evaluation reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from promethios.data.example import Example
from promethios.model.encoding import PromptEncoder
from promethios.model.scoring import load_model


def generate_responses(
    model_path: Path,
    examples: Sequence[Example],
    decisions: Sequence[str],
    *,
    max_new_tokens: int = 96,
    batch_size: int = 64,
    progress: bool = True,
) -> list[str]:
    """Return the text that the model writes after each example's prompt, header and the given decision.

    decisions: one of DECISIONS for each example; policy may force any of them, so they need not be the model's own.
    """
    model, encoder = load_model(model_path), PromptEncoder.load(model_path)
    pad = model.config.pad_token_id
    prompts = [
        [*encoder.example_prompt(example), encoder.reserved.decision(decision)]
        for example, decision in zip(examples, decisions, strict=True)
    ]
    responses: list[str] = []
    with (
        torch.inference_mode(),
        tqdm(total=len(prompts), desc="generate", unit="response", disable=not progress) as bar,
    ):
        for start in range(0, len(prompts), batch_size):
            batch = prompts[start : start + batch_size]
            width = max(map(len, batch))
            ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in batch], device=model.device)
            mask = torch.tensor(
                [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in batch], device=model.device
            )
            output = model.generate(ids, attention_mask=mask, max_new_tokens=max_new_tokens, do_sample=False)
            responses += encoder.tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
            bar.update(len(batch))
    return responses
