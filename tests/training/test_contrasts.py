"""Contrasts: both members of a pair are taught, without a response, as many as there is room for."""

from __future__ import annotations

from pathlib import Path

import pytest

from promethios.data.example import Example, read_examples
from promethios.data.folder import split_path
from promethios.model.encoding import PromptEncoder
from promethios.model.tokenizer import train_tokenizer
from promethios.training.contrasts import draw_contrasts
from promethios.training.packing import Target, target_vector

LENGTH = 256


@pytest.fixture(scope="module")
def pairs(small_dataset: Path) -> list[Example]:
    return read_examples(split_path(small_dataset, "train_contrasts"))


@pytest.fixture(scope="module")
def encoder(pairs: list[Example]) -> PromptEncoder:
    return PromptEncoder(train_tokenizer([example.prompt for example in pairs], 2000))


def drawn(encoder: PromptEncoder, pairs: list[Example], num_tokens: float, seed: int = 7) -> list[Target]:
    return draw_contrasts(encoder, pairs, num_tokens=num_tokens, sequence_length=LENGTH, seed=seed)


def test_every_member_is_taught_its_own_posterior_and_no_response(encoder: PromptEncoder, pairs: list[Example]) -> None:
    targets = drawn(encoder, pairs, 1e9)
    assert sorted(target.values for target in targets) == sorted(target_vector(example) for example in pairs)
    for first, second in zip(targets[::2], targets[1::2], strict=True):
        assert first.encoded.language_positions == second.encoded.language_positions == ()
        assert first.values[:4] != second.values[:4]
        assert first.competence is not None and first.twin is None


def test_they_are_as_long_as_asked_for_and_the_same_every_time(encoder: PromptEncoder, pairs: list[Example]) -> None:
    targets = drawn(encoder, pairs, 1500)
    length = sum(target.num_tokens for target in targets)
    assert 1500 - 2 * LENGTH < length <= 1500
    assert targets == drawn(encoder, pairs, 1500) != drawn(encoder, pairs, 1500, seed=8)


@pytest.mark.parametrize("num_tokens", [0.0, 1e9])
def test_without_pairs_or_without_room_there_are_none(
    encoder: PromptEncoder, pairs: list[Example], num_tokens: float
) -> None:
    assert drawn(encoder, [] if num_tokens else pairs, num_tokens) == []
