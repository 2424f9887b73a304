"""Words that are lost from requests: which examples, which ids, and what must stay."""

from __future__ import annotations

import dataclasses

import pytest

from promethios.data.example import Example
from promethios.model.encoding import PromptEncoder
from promethios.model.tokenizer import train_tokenizer
from promethios.telemetry.state import GovernanceState
from promethios.training.noise import HIGHEST_RATE, add_noise
from promethios.training.packing import Target, Twin

TEXT = "How much of the cough syrup may my mother take, and how often in one day?"
EXAMPLE = Example(
    id="train-00001",
    messages=({"role": "user", "content": TEXT}, {"role": "assistant", "content": "Which dose?"}),
    state=GovernanceState.of(trust=0.4),
    header_domain="healthcare",
    decision="clarify",
)


@pytest.fixture(scope="module")
def encoder() -> PromptEncoder:
    return PromptEncoder(train_tokenizer([TEXT, "Which dose?"], 600))


def targets(encoder: PromptEncoder, count: int) -> list[Target]:
    encoded = encoder.example(EXAMPLE)
    other = dataclasses.replace(EXAMPLE, state=GovernanceState.of(trust=0.9))
    twin = Twin(encoder.example_prompt(other), "raised")
    return [Target(encoded, [0.5] * 18, twin=twin) for _ in range(count)]


def test_a_share_of_the_requests_loses_words_the_same_ones_every_time(encoder: PromptEncoder) -> None:
    whole = targets(encoder, 400)
    noisy = add_noise(encoder, whole, share=0.4, seed=7)
    assert noisy == add_noise(encoder, whole, share=0.4, seed=7) != add_noise(encoder, whole, share=0.4, seed=8)
    assert add_noise(encoder, whole, share=0.0, seed=7) == whole
    changed = [new.encoded.ids for new, old in zip(noisy, whole, strict=True) if new != old]
    assert len(changed) == pytest.approx(160, abs=40)
    length = whole[0].encoded.request_position + 1
    rates = [sum(a != b for a, b in zip(ids, whole[0].encoded.ids, strict=True)) / length for ids in changed]
    assert sum(rates) / len(rates) == pytest.approx(HIGHEST_RATE / 2, abs=0.06)


def test_roles_turns_header_and_response_stay_and_a_twin_loses_the_same_words(encoder: PromptEncoder) -> None:
    marks = set(encoder.tokenizer.added_tokens_decoder)
    for new, old in zip(add_noise(encoder, targets(encoder, 50), share=1.0, seed=7), targets(encoder, 50), strict=True):
        length = old.encoded.request_position + 1
        assert new.encoded.ids[length:] == old.encoded.ids[length:]
        assert new.twin is not None and old.twin is not None
        assert new.twin.ids == new.encoded.ids[:length] + old.twin.ids[length:]
        for before, after in zip(old.encoded.ids, new.encoded.ids[:length], strict=False):
            assert (before in marks) == (after in marks)
            assert before == after or before not in marks


def test_what_teaches_nothing_but_a_comparison_stays(encoder: PromptEncoder) -> None:
    pair = [dataclasses.replace(target, values=None) for target in targets(encoder, 3)]
    assert add_noise(encoder, pair, share=1.0, seed=7) == pair
