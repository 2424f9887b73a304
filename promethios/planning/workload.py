"""How many tokens, packs and optimizer steps a dataset is: from its texts, or from the generator's documented means."""

from __future__ import annotations

import json
import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from promethios.configs.run_config import ModelSection, TrainingSection
from promethios.data.folder import split_path
from promethios.errors import ConfigError, DatasetError
from promethios.telemetry.state import CHANNELS

Numbers: TypeAlias = np.ndarray[Any, Any]

DEFAULT_EXAMPLES: Final = 10_000
PROMPT_CHARACTERS: Final = (53, 158, 184, 199, 210, 218, 228, 236, 248, 282, 447)
RESPONSE_CHARACTERS: Final = (78, 140, 159, 171, 181, 189, 197, 205, 215, 226, 307)
"""Deciles (least, 10 %, ... most) of the generator's split `train`, default sizes; a test compares them with it."""
MESSAGES: Final = 2.2
HEADER_TOKENS: Final = 18.9
SELF_QUESTION_CHARACTERS: Final = 65.0
SELF_QUESTIONS: Final = 1.34
"""Means of the same split: messages, tokens of the header, characters and number of the hidden questions."""

VOCABULARY_SIZES: Final = (3072, 4096, 8192)
CHARACTERS_PER_TOKEN: Final = (4.12, 4.33, 4.53)
"""Of tokenizers trained on such data; beyond 7,000 tokens they find nothing more to merge."""
PRETRAINED_CHARACTERS_PER_TOKEN: Final = 3.94
"""English in Llama 3's vocabulary (arXiv 2407.21783, section 3.2)."""
MESSAGE_TOKENS: Final = {"own": 2, "pretrained": 5}
SYSTEM_TOKENS: Final = {"own": 0, "pretrained": 25}
"""What the chat template adds to each message and to a conversation; of a pretrained model's, roughly."""
END_TOKENS: Final = 2
"""The decision before a response, or the mark before a hidden question, and the end of turn after either."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One epoch. source: the dataset's folder, or "estimate". tokens: without padding, with counterfactual twins,
    contrasts and headers alone.

    packs: sequences of `sequence_length` positions. predicted_share: of all positions, those whose logits are needed.
    """

    source: str
    examples: int
    tokens: int
    packs: int
    sequence_length: int
    predicted_share: float

    @property
    def fill(self) -> float:
        """Share of the positions that are no padding."""
        return self.tokens / (self.packs * self.sequence_length)

    @property
    def tokens_per_example(self) -> float:
        """Mean length of an example, with its share of twins, contrasts and headers alone."""
        return self.tokens / self.examples


class Texts(NamedTuple):
    """Sizes of each example [n]: characters of prompt, response and hidden questions, tokens of the header, numbers
    of messages and of questions."""

    prompt: Numbers
    response: Numbers
    questions: Numbers
    header: Numbers
    num_messages: Numbers
    num_questions: Numbers


def estimated_workload(model: ModelSection, training: TrainingSection, num_examples: int) -> Workload:
    """Return the workload of that many generated examples, from the documented deciles and means."""
    if num_examples < 1:
        raise ConfigError(f"--num_examples {num_examples}: give at least 1")
    places = (np.arange(num_examples) + 0.5) / num_examples
    deciles = np.linspace(0, 1, len(PROMPT_CHARACTERS))
    means = (SELF_QUESTION_CHARACTERS, HEADER_TOKENS, MESSAGES, SELF_QUESTIONS)
    texts = Texts(
        np.interp(places, deciles, PROMPT_CHARACTERS),
        _shuffled(np.interp(places, deciles, RESPONSE_CHARACTERS)),  # their lengths are nearly independent
        *(np.full(num_examples, mean) for mean in means),
    )
    return _workload("estimate", model, training, texts)


def dataset_workload(model: ModelSection, training: TrainingSection, folder: Path) -> Workload:
    """Return the workload of a dataset folder's split `train`. Raises DatasetError naming file and line."""
    path = split_path(folder, "train")
    rows = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                rows.append(_sizes(json.loads(line)))
            except (ValueError, KeyError, TypeError):
                raise DatasetError(f"{path}:{number}: no example; write a dataset with `promethios generate`") from None
    if not rows:
        raise DatasetError(f"{path}: the file is empty; write a dataset with `promethios generate`")
    return _workload(str(folder), model, training, Texts(*np.array(rows).T))


def count_packs(lengths: Sequence[int], sequence_length: int) -> int:
    """Return how many sequences hold items of these lengths, as `promethios.training.packing.pack` fills them."""
    spaces: list[int] = []
    packs = 0
    for length in sorted(lengths, reverse=True):
        index = bisect_left(spaces, length)
        if index < len(spaces):
            space = spaces.pop(index)
        else:
            packs, space = packs + 1, sequence_length
        insort(spaces, space - length)
    return packs


def optimizer_steps(training: TrainingSection, packs: int, ranks: int, epochs: float) -> int:
    """Return the optimizer steps of a run, counted as the Trainer counts them: an epoch's last step may be smaller."""
    if training.max_steps is not None:
        return training.max_steps
    batches = math.ceil(math.ceil(packs / training.batch_size) / ranks)
    return math.ceil(epochs * math.ceil(batches / training.gradient_accumulation_steps))


def characters_per_token(model: ModelSection) -> float:
    """Return the mean characters of a token of the model's vocabulary, in such data."""
    if model.from_pretrained:
        return PRETRAINED_CHARACTERS_PER_TOKEN
    return float(np.interp(math.log(model.vocab_size), np.log(VOCABULARY_SIZES), CHARACTERS_PER_TOKEN))


def _sizes(row: dict[str, Any]) -> tuple[int, ...]:
    """Return the fields of Texts of one line of a dataset."""
    *prompt, response = (len(message["content"]) for message in row["messages"])
    questions = row.get("self_questions") or ()
    channels = len(CHANNELS) if row["governance"]["state"] is not None else 0
    domain = 3 if row["governance"]["domain"] is not None else 0
    header = 2 + 2 * channels + domain
    return sum(prompt), response, sum(map(len, questions)), header, len(row["messages"]), len(questions)


def _workload(source: str, model: ModelSection, training: TrainingSection, texts: Texts) -> Workload:
    vocabulary = "pretrained" if model.from_pretrained else "own"
    rate = characters_per_token(model)
    template = texts.num_messages * MESSAGE_TOKENS[vocabulary] + SYSTEM_TOKENS[vocabulary]
    prompts = np.rint(texts.prompt / rate + template + texts.header).astype(int)
    responses = np.rint(texts.response / rate + END_TOKENS).astype(int)
    questions = np.rint(texts.questions / rate + texts.num_questions * END_TOKENS).astype(int)
    asked = _shuffled(np.arange(len(prompts)) < training.self_question_share * len(prompts))
    responses *= _shuffled(np.arange(len(prompts)) < training.response_share * len(prompts), seed=1)
    lengths = prompts + responses + questions * asked
    if lengths.max() > training.sequence_length:
        raise ConfigError(
            f"training.sequence_length is {training.sequence_length}, but the longest example has about {lengths.max()}"
            " tokens; raise it"
        )
    items = [
        *_with_twins(lengths, prompts, training),
        *_contrasts(lengths, prompts, training),
        *_headers_alone(lengths, texts.header, training),
    ]
    packs = count_packs(items, training.sequence_length)
    return Workload(
        source=source,
        examples=len(lengths),
        tokens=sum(items),
        packs=packs,
        sequence_length=training.sequence_length,
        predicted_share=float((responses + questions * asked).sum()) / (packs * training.sequence_length),
    )


def _with_twins(lengths: Numbers, prompts: Numbers, training: TrainingSection) -> list[int]:
    """Return the lengths of what is packed: half of the counterfactual tokens are pairs of texts, packed together,
    half are twins of examples, packed with their example."""
    left = training.counterfactual_share * float(lengths.sum())
    pairs = 2 * _shuffled(prompts)
    pairs = pairs[pairs <= training.sequence_length]
    pairs = pairs[: int(np.searchsorted(np.cumsum(pairs), left / 2)) + 1]
    left -= float(pairs.sum())
    items: list[int] = lengths.tolist()
    for index in _shuffled(np.arange(len(items))):
        if left <= 0:
            break
        twin = int(prompts[index])
        if items[index] + twin <= training.sequence_length:
            items[index] += twin
            left -= twin
    return [*items, *pairs.tolist()]


def _contrasts(lengths: Numbers, prompts: Numbers, training: TrainingSection) -> list[int]:
    """Return the lengths of the members of contrasts, which have no response, as long in all as their share says."""
    ends = np.cumsum(_shuffled(prompts, seed=2))
    taken: list[int] = _shuffled(prompts, seed=2)[ends <= training.contrast_share * lengths.sum()].tolist()
    return taken


def _headers_alone(lengths: Numbers, headers: Numbers, training: TrainingSection) -> list[int]:
    """Return the lengths of the headers without a prompt, as long in all as their share says."""
    total = training.header_share * float(lengths.sum())
    return [round(length) for length in np.resize(_shuffled(headers), math.ceil(total / headers.mean()))]


def _shuffled(values: Numbers, seed: int = 0) -> Numbers:
    return np.random.default_rng(seed).permutation(values)
