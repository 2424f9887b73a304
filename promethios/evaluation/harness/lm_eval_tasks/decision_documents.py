"""Documents and scores of the lm-eval tasks. The YAML files beside this one name these functions.

A document asks for one of the four decisions. Options come from the task and from `--metadata`:
`data`, one of our JSONL files, or `data_dir` and `split`, one of the splits of a dataset folder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from promethios.data.example import Example, read_examples
from promethios.data.folder import DEFAULT_DATA_DIR, split_path
from promethios.evaluation.chat_baseline import question
from promethios.ontology.decision import ESCALATE
from promethios.telemetry.header import DECISIONS


def in_words(
    data: str | None = None, data_dir: str = str(DEFAULT_DATA_DIR), split: str = "test", **_: Any
) -> dict[str, Dataset]:
    """Return documents for any language model: the rule and the telemetry in words, the conversation, a question."""
    examples = _examples(data, data_dir, split)
    return _dataset(examples, [_question(example) for example in examples])


def in_tokens(
    pretrained: str, data: str | None = None, data_dir: str = str(DEFAULT_DATA_DIR), split: str = "test", **_: Any
) -> dict[str, Dataset]:
    """Return documents for one of our model folders: its own prompt and header, token for token.

    pretrained: the folder, which lm_eval hands on from `--model_args`.
    """
    from promethios.model.encoding import PromptEncoder

    encoder = PromptEncoder.load(Path(pretrained))
    examples = _examples(data, data_dir, split)
    prompts = [encoder.tokenizer.decode(encoder.example_prompt(example)) for example in examples]
    return _dataset(examples, prompts)


def scores(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """Return the metrics of one document from the log-likelihoods of the four decisions, in DECISIONS order."""
    likelihoods = np.array([likelihood for likelihood, _ in results])
    weights = np.exp(likelihoods - likelihoods.max())
    probabilities = weights / weights.sum()
    chosen, truth = int(likelihoods.argmax()), int(doc["escalate"])
    found = {
        "escalate_acc": float((chosen == ESCALATE) == bool(truth)),
        "escalate_brier": float((probabilities[ESCALATE] - truth) ** 2),
        "escalate_f1": (truth, int(chosen == ESCALATE)),
        "escalate_mcc": (truth, int(chosen == ESCALATE)),
    }
    if doc["has_decision"]:
        found |= {"acc": float(chosen == doc["gold"]), "brier_score": (doc["gold"], probabilities)}
    return found


def f1(items: Sequence[tuple[int, int]]) -> float:
    """Return F1 of escalating, over (truth, decision) of every document; NaN where neither escalates any."""
    hits, wanted, escalated = _counts(items)
    return 2.0 * hits / (wanted + escalated) if wanted + escalated else math.nan


def mcc(items: Sequence[tuple[int, int]]) -> float:
    """Return Matthews' correlation of truth and decision (Matthews 1975); 0 where one of them is constant."""
    hits, wanted, escalated = _counts(items)
    num = len(items)
    spread = math.sqrt(wanted * (num - wanted) * escalated * (num - escalated))
    return (num * hits - wanted * escalated) / spread if spread else 0.0


def _counts(items: Sequence[tuple[int, int]]) -> tuple[int, int, int]:
    truths, decisions = zip(*items, strict=True)
    return sum(truth and decided for truth, decided in items), sum(truths), sum(decisions)


def _examples(data: str | None, data_dir: str, split: str) -> list[Example]:
    return read_examples(Path(data) if data else split_path(Path(data_dir), split))


def _dataset(examples: Sequence[Example], prompts: Sequence[str]) -> dict[str, Dataset]:
    rows = [
        {
            "id": example.id,
            "prompt": prompt,
            # Where only the outcome is known, lm_eval still wants a target to show.
            "gold": DECISIONS.index(example.decision or ("escalate" if example.truth else "answer")),
            "has_decision": example.decision is not None,
            "escalate": int(example.truth),
        }
        for example, prompt in zip(examples, prompts, strict=True)
    ]
    return {"test": Dataset.from_list(rows)}


def _question(example: Example) -> str:
    rule, conversation = question(example)
    return f"{rule['content']}\n\n{conversation['content']}\n\nDecision:"
