"""Headers alone: what telemetry they show, and what they teach."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from promethios.data import competence
from promethios.data.example import Example
from promethios.model.encoding import PromptEncoder
from promethios.model.tokenizer import train_tokenizer
from promethios.telemetry.header import HEADER_END, HEADER_START, VALUE_TOKENS
from promethios.training.headers import STALE_MATTERS, _draw, draw_headers

EXAMPLES = [cast(Example, SimpleNamespace(header_domain=name)) for name in ("legal", None, "general")]


@pytest.fixture(scope="module")
def encoder() -> PromptEncoder:
    return PromptEncoder(train_tokenizer(["Question 1? Yes."], 600))


def tokens(encoder: PromptEncoder, ids: list[int]) -> list[str]:
    return list(encoder.tokenizer.convert_ids_to_tokens(ids))


def test_headers_are_as_long_in_all_as_asked_for_and_the_same_for_the_same_seed(encoder: PromptEncoder) -> None:
    drawn, again, other = (draw_headers(encoder, EXAMPLES, num_tokens=5000, seed=seed) for seed in (1, 1, 2))
    assert sum(target.num_tokens for target in drawn) == pytest.approx(5000, abs=30)
    assert [target.encoded.ids for target in drawn] == [target.encoded.ids for target in again]
    assert [target.encoded.ids for target in drawn] != [target.encoded.ids for target in other]
    assert draw_headers(encoder, EXAMPLES, num_tokens=0, seed=1) == []


def test_a_header_is_whole_names_its_examples_domain_and_teaches_only_what_telemetry_says(
    encoder: PromptEncoder,
) -> None:
    for number, target in enumerate(draw_headers(encoder, EXAMPLES, num_tokens=400, seed=1)):
        shown = tokens(encoder, target.encoded.ids)
        assert shown[0] == HEADER_START and shown[target.encoded.decision_position] == HEADER_END == shown[-1]
        assert ("<|g:domain|>" in shown) == (EXAMPLES[number % 3].header_domain is not None)
        assert target.values is None and target.twin is None and target.domain_slot is None
        assert target.competence is not None and all(0 <= p <= 1 for p in target.competence)


def test_higher_trust_teaches_more_competence(encoder: PromptEncoder) -> None:
    trusts, reached = [], []
    for target in draw_headers(encoder, EXAMPLES, num_tokens=10_000, seed=1):
        shown = tokens(encoder, target.encoded.ids)
        value = shown[shown.index("<|g:trust|>") + 1]
        if value in VALUE_TOKENS and target.competence is not None:
            trusts.append(VALUE_TOKENS.index(value))
            reached.append(target.competence[2])
    assert np.corrcoef(trusts, reached)[0, 1] > 0.5


def test_what_is_stale_matters_in_half_of_the_headers() -> None:
    telemetry = competence.concatenate([_draw(1, number)[0] for number in range(4)])
    fresh = dataclasses.replace(telemetry, levels=np.zeros_like(telemetry.levels))
    change = np.abs(competence.levels_reached(telemetry) - competence.levels_reached(fresh)).sum(axis=1)
    assert (change > STALE_MATTERS).mean() == pytest.approx(0.5, abs=0.05)


def test_no_fresh_reading_is_one_that_training_holds_back(encoder: PromptEncoder) -> None:
    for target in draw_headers(encoder, EXAMPLES, num_tokens=10_000, seed=1):
        shown = tokens(encoder, target.encoded.ids)
        place = shown.index("<|g:trust|>") + 1
        is_stale = shown[place + 1].startswith("<|stale")
        assert is_stale or shown[place] not in VALUE_TOKENS[60:67]
