"""Governance scores of many examples: one batched forward pass, no generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from promethios.data.example import Example
from promethios.model.encoding import PromptEncoder
from promethios.model.folder import check_model_folder
from promethios.model.governance_sentinel_8b import PromethiosForCausalLM
from promethios.telemetry.header import NUM_DOMAIN_SLOTS, SCORE_NAMES


def load_model(model_path: Path) -> PromethiosForCausalLM:
    """Load a model folder for inference: bf16 on a GPU, fp32 on CPU. Raises ModelFolderError when it is not whole."""
    check_model_folder(model_path)
    logging.disable_progress_bar()  # "Loading weights"
    on_gpu = torch.cuda.is_available()
    model: PromethiosForCausalLM = AutoModelForCausalLM.from_pretrained(
        model_path, dtype=torch.bfloat16 if on_gpu else torch.float32, local_files_only=True
    )
    model.to("cuda" if on_gpu else "cpu").eval()
    return model


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model for inference and the encoder of its prompts: loaded once, used for scores and responses alike."""

    model: PromethiosForCausalLM
    encoder: PromptEncoder

    @classmethod
    def load(cls, model_path: Path) -> LoadedModel:
        """Load a model folder. Raises ModelFolderError when it is not whole."""
        return cls(load_model(model_path), PromptEncoder.load(model_path))

    @classmethod
    def of(cls, model: Path | LoadedModel) -> LoadedModel:
        """Return a model that is loaded already, or load its folder."""
        return model if isinstance(model, LoadedModel) else cls.load(model)


def score_examples(
    model: Path | LoadedModel, examples: Sequence[Example], *, batch_size: int = 64, progress: bool = True
) -> NDArray[np.float32]:
    """Return the raw governance scores of each example's prompt and header, [examples, 18] in SCORE_NAMES order.

    model: a folder, or one that is loaded already.
    """
    loaded = LoadedModel.of(model)
    prompts = [loaded.encoder.example_prompt(example) for example in examples]
    return score_prompts(loaded.model, prompts, batch_size=batch_size, progress=progress)


def score_prompts(
    network: PromethiosForCausalLM, prompts: Sequence[list[int]], *, batch_size: int = 64, progress: bool = True
) -> NDArray[np.float32]:
    """Return the raw governance scores at the last id of each prompt, [prompts, 18] in SCORE_NAMES order."""
    columns = len(SCORE_NAMES)
    return _at_the_end(network, prompts, "governance_scores", columns, batch_size=batch_size, progress=progress)


def probe_domains(
    loaded: LoadedModel, examples: Sequence[Example], *, batch_size: int = 64, progress: bool = True
) -> NDArray[np.float32] | None:
    """Return the domain probe's logits on each example's prompt without a header, [examples, 32] by slot.

    None for a model without a probe.
    """
    if loaded.model.domain_probe is None:
        return None
    prompts = [loaded.encoder.request(example.request) for example in examples]
    return _at_the_end(
        loaded.model, prompts, "domain_logits", NUM_DOMAIN_SLOTS, batch_size=batch_size, progress=progress
    )


def _at_the_end(
    network: PromethiosForCausalLM,
    prompts: Sequence[list[int]],
    name: str,
    columns: int,
    *,
    batch_size: int,
    progress: bool,
) -> NDArray[np.float32]:
    """Return the output of this name at the last id of each prompt, [prompts, columns].

    Batches hold prompts of like length. Padding stands on the right, where a causal model cannot see it.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found = np.empty((len(prompts), columns), dtype=np.float32)
    no_logits = torch.empty(0, dtype=torch.long, device=network.device)
    hidden = None if progress else True  # None: shown on a terminal only
    with torch.inference_mode(), tqdm(total=len(prompts), desc="score", unit="example", disable=hidden) as bar:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            width = len(prompts[chosen[-1]])
            ids = [prompts[i] + [network.config.pad_token_id] * (width - len(prompts[i])) for i in chosen]
            ends = [row * width + len(prompts[i]) - 1 for row, i in enumerate(chosen)]
            last = torch.tensor(ends, device=network.device)
            output = network(
                torch.tensor(ids, device=network.device),
                logit_index=no_logits,
                score_index=last,
                request_index=last,
                use_cache=False,
            )
            found[chosen] = output[name].cpu().numpy()
            bar.update(len(chosen))
    return found
