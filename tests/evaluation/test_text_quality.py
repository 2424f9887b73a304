from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from promethios.data.example import Example
from promethios.evaluation.text_quality import (
    ResponseJudge,
    ends_properly,
    keeps_precedence,
    linguistic_calibration,
    repeated_share,
    response_sample,
    text_measures,
    words,
)
from promethios.ontology.governance_ontology import load_ontology


@pytest.fixture(scope="module")
def judge(make_examples: Callable[[int, str], list[Example]]) -> ResponseJudge:
    return ResponseJudge(make_examples(400, "train"), make_examples(50, "test"))


def test_the_datasets_own_responses_pass_every_rule(
    judge: ResponseJudge, make_examples: Callable[[int, str], list[Example]]
) -> None:
    examples = make_examples(80, "test")
    judged = judge.judge(examples, [e.decision for e in examples], [e.response for e in examples])
    measures = text_measures(judged)
    assert measures["leaks"].value == 0.0
    assert measures["readable"].value == measures["fits_decision"].value == measures["keeps_checks"].value == 1.0


def test_a_response_for_another_decision_does_not_fit(
    judge: ResponseJudge, make_examples: Callable[[int, str], list[Example]]
) -> None:
    examples = make_examples(80, "test")
    wrong = ["escalate" if e.decision != "escalate" else "answer" for e in examples]
    judged = judge.judge(examples, wrong, [e.response for e in examples])
    assert text_measures(judged)["fits_decision"].value == 0.0
    assert any("names_a_person_to_ask" in item.failed_checks for item in judged)


def test_words_that_follow_the_probability_are_calibrated(
    judge: ResponseJudge, make_examples: Callable[[int, str], list[Example]]
) -> None:
    examples = make_examples(80, "test")
    decisions, responses = [e.decision for e in examples], [e.response for e in examples]
    risk = {"answer": 0.1, "caveat": 0.3, "clarify": 0.3, "escalate": 0.9}
    honest = linguistic_calibration(judge.judge(examples, decisions, responses, [risk[name] for name in decisions]))
    assert honest["expressed_confidence"] > 0.9 and honest["decision_f1"] == 1.0
    bold = linguistic_calibration(judge.judge(examples, decisions, responses, [1 - risk[name] for name in decisions]))
    assert bold["expressed_confidence"] < -0.9
    untold = linguistic_calibration(judge.judge(examples, decisions, responses))
    assert math.isnan(untold["expressed_confidence"])


def test_the_norm_that_prevails_is_kept_in_the_response(make_examples: Callable[[int, str], list[Example]]) -> None:
    ontology = load_ontology()
    example = next(e for e in make_examples(80, "test") if e.decision == "escalate")
    torn = replace(example, norms=("answer_the_question", "hand_over_when_unsure", "a_norm_of_somebody_else"))
    assert keeps_precedence(torn, torn.response, ontology) is True
    assert keeps_precedence(torn, "Here is what to do next: pay the bill.", ontology) is False
    assert keeps_precedence(replace(torn, norms=("hand_over_when_unsure",)), torn.response, ontology) is None
    unchecked = ("answer_the_question", "missing_telemetry_is_caution")
    assert keeps_precedence(replace(torn, norms=unchecked), torn.response, ontology) is None


@pytest.mark.parametrize(
    ("response", "readable"),
    [
        ("Here is what to do next: pay the bill and keep the letter.", True),
        ("Here is what to do next: pay the bill and keep the", False),
        ("Hre iz wat too doo nxt: pai teh bil.", False),
        ("Pay the bill.", False),
        ("Pay the bill and pay the bill and pay the bill and pay the bill and pay the bill.", False),
        ("", False),
    ],
)
def test_readable_means_known_words_no_loop_and_an_end(judge: ResponseJudge, response: str, readable: bool) -> None:
    assert judge.is_readable(response) is readable


def test_words_keep_apostrophes_and_leave_numbers() -> None:
    assert words("Don't pay 12 bills, Anna-Lena!") == ["don't", "pay", "bills", "anna-lena"]


def test_repeated_share_counts_4_grams_seen_before() -> None:
    assert repeated_share(["a", "b", "c", "d"]) == 0.0
    assert repeated_share(["a", "b", "c", "d", "a", "b", "c", "d"]) == pytest.approx(1 / 5)
    assert repeated_share(["a"]) == 0.0


@pytest.mark.parametrize(
    ("text", "proper"), [("Yes.", True), ('He said "yes."  ', True), ("Really?", True), ("Yes,", False), ("", False)]
)
def test_a_proper_end_is_a_sentences_end(text: str, proper: bool) -> None:
    assert ends_properly(text) is proper


def test_sample_is_spread_over_the_decisions() -> None:
    decisions = ["answer"] * 90 + ["clarify"] * 6 + ["escalate"] * 40
    chosen = response_sample(decisions, 30, seed=0)
    counts = {name: sum(decisions[i] == name for i in chosen) for name in set(decisions)}
    assert counts == {"answer": 12, "clarify": 6, "escalate": 12}
    assert chosen == sorted(set(chosen)) == response_sample(decisions, 30, seed=0)
    assert len(response_sample(decisions, 1000, seed=0)) == len(decisions)
