from __future__ import annotations

import dataclasses

import pytest

from promethios.data.draws import Picks, uniforms
from promethios.data.example import Example, Pair
from promethios.model.encoding import PromptEncoder
from promethios.model.tokenizer import train_tokenizer
from promethios.telemetry.state import CHANNEL_BY_NAME, GovernanceState, Reading
from promethios.training.counterfactuals import RAISE_STEPS, add_counterfactuals, counterfactual_state
from promethios.training.packing import RAISED, Target, encode_targets

FRESH = GovernanceState.of(trust=0.5, verify=0.6, attest=0.9, bound=0.7, model="SPLIT")
STALE_TRUST = GovernanceState(trust=Reading(0.5, 500.0), attest=Reading(0.9))
LENGTH = 160


def example(number: int, state: GovernanceState | None = FRESH, pair: Pair | None = None) -> Example:
    return Example(
        id=f"train-{number:05d}",
        messages=({"role": "user", "content": f"Question {number}?"}, {"role": "assistant", "content": "Yes. " * 5}),
        state=state,
        header_domain="general",
        domain="general",
        decision="answer",
        soft_label=(0.9, 0.0, 0.0, 0.1),
        confidence=0.8,
        uncertainty=(0.0,) * 6,
        bias=(0.0,) * 6,
        tool=0,
        pair=pair,
    )


@pytest.fixture(scope="module")
def encoder() -> PromptEncoder:
    return PromptEncoder(train_tokenizer(["Question 1? Yes."], 600))


def picks(number: int) -> Picks:
    return Picks(uniforms(1, 2, "test", number)[0].tolist())


def text_pairs(count: int) -> list[Example]:
    kinds = ("spoof", "bias")
    return [example(i, pair=Pair(f"pair-{i}", kinds[i % 2], member)) for i in range(count) for member in ("a", "b")]


def test_a_fresh_view_of_competence_is_raised_and_nothing_else_changes() -> None:
    raised = set()
    for number in range(60):
        changed = counterfactual_state(FRESH, picks(number))
        assert changed is not None
        state, kind = changed
        assert kind == RAISED
        ((name, old, new),) = [(c.name, r, getattr(state, c.name)) for c, r in FRESH if r != getattr(state, c.name)]
        raised.add(name)
        if name == "model":
            words = CHANNEL_BY_NAME["model"].values
            assert words.index(new.value) == words.index(old.value) - 1
        else:
            low, high = RAISE_STEPS
            assert low <= round(100 * (new.value - old.value)) <= high
    assert raised == {"trust", "verify", "bound", "model"}  # attest speaks for the readings, not for competence


def test_a_stale_view_gets_another_value_and_keeps_its_age() -> None:
    for number in range(30):
        changed = counterfactual_state(STALE_TRUST, picks(number))
        assert changed is not None
        state, kind = changed
        assert kind == "stale"
        assert state.trust is not None and state.trust.value != 0.5 and state.trust.age_s == 500.0
        assert state.attest == STALE_TRUST.attest


@pytest.mark.parametrize("state", [GovernanceState(), GovernanceState.of(trust=1.0, model="CONSENSUS", emotion="CALM")])
def test_telemetry_that_can_only_stay_or_fall_has_no_twin(state: GovernanceState) -> None:
    assert counterfactual_state(state, picks(0)) is None


def twins_of(encoder: PromptEncoder, share: float, pairs: list[Example], seed: int = 0) -> list[Target]:
    examples = [example(i, STALE_TRUST if i % 3 else FRESH) for i in range(200)]
    targets = encode_targets(encoder, examples, LENGTH)
    return add_counterfactuals(encoder, examples, targets, pairs, share=share, sequence_length=LENGTH, seed=seed)


def num_tokens(targets: list[Target]) -> int:
    return sum(target.num_tokens for target in targets)


@pytest.mark.parametrize("num_pairs", [0, 5, 500])
def test_twins_cost_the_share_of_tokens_that_was_asked_for(encoder: PromptEncoder, num_pairs: int) -> None:
    plain = num_tokens(twins_of(encoder, 0.0, text_pairs(num_pairs)))
    with_twins = num_tokens(twins_of(encoder, 0.15, text_pairs(num_pairs)))
    assert 0.15 <= with_twins / plain - 1 < 0.17


def test_half_of_the_tokens_are_twins_of_text_when_there_are_enough(encoder: PromptEncoder) -> None:
    targets = twins_of(encoder, 0.2, text_pairs(500))
    of_text = [target for target in targets if target.values is None]
    assert 0.09 < num_tokens(of_text) / num_tokens(twins_of(encoder, 0.0, [])) < 0.12
    assert {target.twin.kind for target in targets if target.twin} == {RAISED, "stale", "spoof", "bias"}


def test_a_twin_is_the_prompt_with_the_other_header_and_no_response(encoder: PromptEncoder) -> None:
    target = next(t for t in twins_of(encoder, 0.2, []) if t.twin)
    assert target.twin is not None
    prompt = target.encoded.ids[: target.encoded.decision_position + 1]
    assert len(target.twin.ids) == len(prompt)
    assert sum(a != b for a, b in zip(target.twin.ids, prompt, strict=True)) == 1


def test_the_seed_alone_decides_which_twins_there_are(encoder: PromptEncoder) -> None:
    assert twins_of(encoder, 0.1, text_pairs(20)) == twins_of(encoder, 0.1, text_pairs(20))
    assert twins_of(encoder, 0.1, text_pairs(20)) != twins_of(encoder, 0.1, text_pairs(20), seed=1)


def test_what_does_not_fit_into_a_sequence_gets_no_twin(encoder: PromptEncoder) -> None:
    examples = [example(0)]
    targets = encode_targets(encoder, examples, LENGTH)
    short = targets[0].num_tokens + 1
    assert (
        add_counterfactuals(encoder, examples, targets, text_pairs(1), share=1.0, sequence_length=short, seed=0)[0]
        == targets[0]
    )


def test_a_share_of_the_examples_holds_self_questions_the_same_ones_every_time(encoder: PromptEncoder) -> None:
    examples = [dataclasses.replace(example(i), self_questions=("Is it clear? Yes.",)) for i in range(400)]

    def asking(share: float) -> list[int]:
        targets = encode_targets(encoder, examples, LENGTH, self_question_share=share)
        return [i for i, target in enumerate(targets) if target.encoded.question_positions]

    assert asking(0.0) == [] and asking(1.0) == list(range(400))
    assert len(asking(0.3)) == pytest.approx(120, abs=30)
    assert asking(0.3) == asking(0.3)
    assert set(asking(0.3)) < set(asking(0.6))


def test_a_share_of_the_examples_holds_its_response_and_every_one_teaches_its_decision(encoder: PromptEncoder) -> None:
    examples = [example(i) for i in range(400)]
    whole = encode_targets(encoder, examples, LENGTH)

    def responding(share: float) -> list[int]:
        targets = encode_targets(encoder, examples, LENGTH, response_share=share)
        assert [target.values for target in targets] == [target.values for target in whole]
        for short, long in zip(targets, whole, strict=True):
            assert short.encoded.ids == long.encoded.ids[: len(short.encoded.ids)]
            assert short.encoded.decision_position == long.encoded.decision_position < len(short.encoded.ids)
        return [i for i, target in enumerate(targets) if target.encoded.language_positions]

    assert responding(0.0) == [] and responding(1.0) == list(range(400))
    assert len(responding(0.3)) == pytest.approx(120, abs=30)
    assert set(responding(0.3)) < set(responding(0.6))


def test_an_example_with_self_questions_has_no_twin(encoder: PromptEncoder) -> None:
    examples = [dataclasses.replace(example(i), self_questions=("Is it clear? Yes.",)) for i in range(50)]
    targets = encode_targets(encoder, examples, LENGTH, self_question_share=0.5)
    with_twins = add_counterfactuals(encoder, examples, targets, [], share=1.0, sequence_length=LENGTH, seed=0)
    asking = [bool(target.encoded.question_positions) for target in with_twins]
    assert 0 < sum(asking) < 50
    assert [target.twin is None for target in with_twins] == asking
