"""Self-questioning: while the model is uncertain it asks itself, in hidden rounds, and answers before it decides.

    chat | <|ask|> "Is a fact missing? Yes, the strength on the label." end of turn | ... | header -> scores

At most MAX_ROUNDS rounds, and only while the largest of the six uncertainties is at least `threshold` and did not fall
in the last round. A round is written from the chat and the rounds before it, never from telemetry, so it cannot repeat
a reading. Off by default: it costs a pass for the scores and a few generated tokens for each round.

A server runs the same loop with engine calls of the same token layout, every prefix of which is cached:
score `request + rounds + header` (one token, score columns); while `asks_again(...)`, generate greedily after
`request + rounds + [<|ask|>]`, at most MAX_QUESTION_TOKENS and up to the end of turn, append
`PromptEncoder.self_question(ids)` to the rounds and score again. The rounds stay before the header when the model
speaks. Their text is reasoning, not response.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from promethios.data.example import Example
from promethios.model.generation import continue_prompts
from promethios.model.scoring import LoadedModel, score_prompts
from promethios.telemetry.header import NUM_UNCERTAINTY, SCORE_NAMES

MAX_ROUNDS: Final = 2
MAX_QUESTION_TOKENS: Final = 24
UNCERTAINTY_THRESHOLD: Final = 0.5
"""Probability of an uncertainty from which on the model asks itself."""
_FIRST: Final = SCORE_NAMES.index("uncertainty:0")


@dataclass(frozen=True, slots=True)
class SelfQuestioned:
    """Scores after self-questioning, and what it took.

    scores: [examples, 18] after the last round, in SCORE_NAMES order. questions: of each example the text of each
    round, 0 to MAX_ROUNDS. extra_tokens: [examples], ids that the rounds add to the prompt.
    """

    scores: NDArray[np.float32]
    questions: tuple[tuple[str, ...], ...]
    extra_tokens: NDArray[np.int64]


def asks_again(largest: Sequence[float], threshold: float = UNCERTAINTY_THRESHOLD) -> bool:
    """Return whether another round follows.

    largest: the largest uncertainty, in [0, 1], before the first round and after each round so far.
    """
    fell = len(largest) > 1 and largest[-1] < largest[-2]
    return len(largest) <= MAX_ROUNDS and largest[-1] >= threshold and not fell


def largest_uncertainty(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability of the likeliest uncertainty, [...], from raw scores [..., 18]."""
    largest = scores[..., _FIRST : _FIRST + NUM_UNCERTAINTY].max(axis=-1)
    return np.asarray(1.0 / (1.0 + np.exp(-largest)), dtype=np.float32)


def score_with_self_questions(
    model: Path | LoadedModel,
    examples: Sequence[Example],
    *,
    threshold: float = UNCERTAINTY_THRESHOLD,
    batch_size: int = 64,
    progress: bool = True,
) -> SelfQuestioned:
    """Score examples as `score_examples` does, with hidden rounds where the model is uncertain.

    model: a folder, or one that is loaded already. The same model and examples give the same rounds.
    """
    loaded = LoadedModel.of(model)
    encoder = loaded.encoder
    requests = [encoder.request(example.request) for example in examples]
    headers = [encoder.example_header(example) for example in examples]
    rounds: list[list[int]] = [[] for _ in examples]
    questions: list[tuple[str, ...]] = [() for _ in examples]
    scores = np.empty((len(examples), len(SCORE_NAMES)), dtype=np.float32)
    largest: list[list[float]] = [[] for _ in examples]

    asking = list(range(len(examples)))
    while asking:
        prompts = [requests[i] + rounds[i] + headers[i] for i in asking]
        scores[asking] = score_prompts(loaded.model, prompts, batch_size=batch_size, progress=progress)
        for i, value in zip(asking, largest_uncertainty(scores[asking]).tolist(), strict=True):
            largest[i].append(value)
        asking = [i for i in asking if asks_again(largest[i], threshold)]
        written = continue_prompts(
            loaded,
            [requests[i] + rounds[i] + [encoder.ask_id] for i in asking],
            max_new_tokens=MAX_QUESTION_TOKENS,
            batch_size=batch_size,
            progress=progress and bool(asking),
        )
        for i, ids in zip(asking, written, strict=True):
            rounds[i] += encoder.self_question(ids)
            questions[i] += (encoder.tokenizer.decode(ids, skip_special_tokens=True),)
    extra_tokens = np.array([len(ids) for ids in rounds], dtype=np.int64)
    return SelfQuestioned(scores, tuple(questions), extra_tokens)
