from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from promethios.configs.run_config import ModelSection
from promethios.data.example import Example
from promethios.model import self_questioning
from promethios.model.build import sentinel_config
from promethios.model.encoding import PromptEncoder
from promethios.model.governance_sentinel_8b import PromethiosForCausalLM
from promethios.model.scoring import LoadedModel, score_examples
from promethios.model.self_questioning import (
    MAX_QUESTION_TOKENS,
    MAX_ROUNDS,
    asks_again,
    largest_uncertainty,
    score_with_self_questions,
)
from promethios.model.tokenizer import train_tokenizer
from promethios.telemetry.header import SCORE_NAMES
from promethios.telemetry.state import GovernanceState

CORPUS = ["Is a fact missing? Yes, the dose.", "How much may I take of it today?"]
NEVER = 1.1
ALWAYS = 0.0


@pytest.fixture(scope="module")
def loaded(tiny_section: ModelSection) -> LoadedModel:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(CORPUS, 500)
    section = dataclasses.replace(tiny_section, vocab_size=len(tokenizer))
    model = PromethiosForCausalLM(sentinel_config(section, tokenizer)).eval()
    torch.nn.init.normal_(model.governance_heads.weight, std=0.5)
    return LoadedModel(model, PromptEncoder(tokenizer))


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    texts = ("How much?", "How much may I take of it today?", "Is a fact missing? Yes.", "The dose?", "It is today.")
    return [
        Example(
            id=f"test-{number}",
            messages=({"role": "user", "content": text},),
            state=GovernanceState.of(trust=number / 5),
            header_domain=None,
        )
        for number, text in enumerate(texts)
    ]


@pytest.mark.parametrize(
    ("largest", "again"),
    [
        ([0.4], False),
        ([0.5], True),
        ([0.9, 0.8], False),  # it fell: the question helped
        ([0.9, 0.9], True),
        ([0.6, 0.9], True),
        ([0.9, 0.3], False),
        ([0.6, 0.7, 0.9], False),  # no third round
    ],
)
def test_a_round_follows_while_the_largest_uncertainty_is_high_and_does_not_fall(
    largest: list[float], again: bool
) -> None:
    assert asks_again(largest, 0.5) is again


def test_the_largest_uncertainty_is_a_probability_of_the_uncertainty_scores_alone() -> None:
    scores = np.full((1, len(SCORE_NAMES)), 9.0, dtype=np.float32)
    scores[0, SCORE_NAMES.index("uncertainty:0") : SCORE_NAMES.index("bias:0")] = [-3, -2, 0, -1, -4, -5]
    assert largest_uncertainty(scores).tolist() == [0.5]


def test_a_model_that_is_certain_asks_nothing_and_scores_as_without(
    loaded: LoadedModel, examples: list[Example]
) -> None:
    result = score_with_self_questions(loaded, examples, threshold=NEVER, progress=False)
    assert result.questions == ((),) * len(examples)
    assert not result.extra_tokens.any()
    np.testing.assert_array_equal(result.scores, score_examples(loaded, examples, progress=False))


def test_rounds_are_few_short_and_the_same_in_every_batch(loaded: LoadedModel, examples: list[Example]) -> None:
    together = score_with_self_questions(loaded, examples, threshold=ALWAYS, progress=False)
    alone = score_with_self_questions(loaded, examples, threshold=ALWAYS, batch_size=1, progress=False)
    assert together.questions == alone.questions
    np.testing.assert_allclose(together.scores, alone.scores, atol=1e-4)
    counts = [len(questions) for questions in together.questions]
    assert set(counts) == {1, MAX_ROUNDS}  # the fixture holds both: some fell after the first round, some did not
    for count, tokens in zip(counts, together.extra_tokens.tolist(), strict=True):
        assert 2 * count <= tokens <= (MAX_QUESTION_TOKENS + 2) * count
    assert (together.scores != score_examples(loaded, examples, progress=False)).any(axis=1).all()


def test_a_round_is_written_without_telemetry_and_read_before_it(
    loaded: LoadedModel, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token layout that training shows and that a server has to keep."""
    encoder, example = loaded.encoder, examples[0]
    texts = [encoder.tokenizer.encode(text, add_special_tokens=False) for text in CORPUS]
    scored: list[list[int]] = []
    continued: list[list[int]] = []

    def score_prompts(model: object, prompts: Sequence[list[int]], **_: object) -> np.ndarray:
        scored.extend(prompts)
        return np.ones((len(prompts), len(SCORE_NAMES)), dtype=np.float32) * len(scored)

    def continue_prompts(model: object, prompts: Sequence[list[int]], **_: object) -> list[list[int]]:
        continued.extend(prompts)
        return [texts[len(continued) - 1] for _ in prompts]

    monkeypatch.setattr(self_questioning, "score_prompts", score_prompts)
    monkeypatch.setattr(self_questioning, "continue_prompts", continue_prompts)
    result = score_with_self_questions(loaded, [example], progress=False)
    request, header = encoder.request(example.request), encoder.example_header(example)
    first, second = (encoder.self_question(ids) for ids in texts)
    assert continued == [[*request, encoder.ask_id], [*request, *first, encoder.ask_id]]
    assert scored == [request + header, request + first + header, request + first + second + header]
    assert (
        scored[-1]
        == encoder.example(
            dataclasses.replace(example, self_questions=tuple(CORPUS), decision="answer"), self_questions=True
        ).ids[: len(scored[-1])]
    )
    assert result.questions == (tuple(CORPUS),)
    assert result.extra_tokens.tolist() == [len(first) + len(second)]
    assert result.scores[0, 0] == 3.0
