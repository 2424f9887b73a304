"""What users and the assistant say: the right length, no raw metric, the right manner, no easy way to cheat."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np

from promethios.data import prompts, responses
from promethios.data.causes import TextCauses
from promethios.data.example import Example
from promethios.data.families import Person, families_for
from promethios.data.scene import Scene
from promethios.ontology.governance_ontology import Ontology
from promethios.telemetry.tags import TAG_TEXT

RAW = re.compile(
    r"\d|%|trust score|verif|attest|telemetry|threshold|probabilit|metric|intensity|CONSENSUS|\bscore|<|\|",
    re.IGNORECASE,
)


def plain_prompt(example: Example) -> str:
    return TAG_TEXT.sub("", example.prompt).strip()


def test_no_response_shows_a_raw_metric(every_example: list[Example]) -> None:
    assert not [example.response for example in every_example if RAW.search(example.response)]


def test_every_response_passes_the_checks_of_its_domain(every_example: list[Example], ontology: Ontology) -> None:
    failed = Counter(
        check.id
        for example in every_example
        for check in ontology.domain_checks(example.domain, example.decision)
        if not check.passes(example.response)
    )
    assert not failed


def test_texts_have_the_length_of_a_short_message(every_example: list[Example]) -> None:
    for texts, module in (
        ([plain_prompt(example) for example in every_example], prompts),
        ([example.response for example in every_example], responses),
    ):
        words = np.array([len(text.split()) for text in texts])
        assert ((words >= module.MIN_WORDS) & (words <= module.MAX_WORDS)).mean() > 0.96
        assert words.min() >= module.MIN_WORDS - 5
        assert words.max() <= module.MAX_WORDS + 10


def test_the_vocabulary_is_small_enough_to_learn(every_example: list[Example]) -> None:
    texts = " ".join(f"{plain_prompt(example)} {example.response}" for example in every_example)
    assert 1200 < len(set(re.findall(r"[a-z]+", texts.lower()))) < 2500


def test_texts_are_clean_sentences(every_example: list[Example]) -> None:
    wrong = re.compile(r"[<>{}]|  |\.\.|\ba [aeio]\w|\bthey (is|has|was|needs)\b")
    for example in every_example:
        for text in (plain_prompt(example), example.response):
            assert not wrong.search(text), text
            assert text[0].isupper()
            assert text[-1] in ".?"
        assert not re.search(r"\b(my|our|ours)\b", example.response), example.response


def test_a_clarification_asks_and_nothing_else_does(every_example: list[Example]) -> None:
    for example in every_example:
        assert ("?" in example.response) == (example.decision == "clarify")


def test_an_escalation_names_the_expert_and_only_the_emotional_one_comforts(
    every_example: list[Example], ontology: Ontology
) -> None:
    for example in every_example:
        if example.decision == "escalate":
            assert ontology.domain(example.domain).expert in example.response
            comforts = example.response.startswith(responses.COMFORT)
            assert comforts == (example.behaviour == "uncertain_emotional_hitl")


def test_responses_are_about_the_request(every_example: list[Example]) -> None:
    items = {family.id: family.items for use in ("train", "evaluation", "held_out") for family in families_for(use)}
    named = [
        any(re.sub("^an? ", "", item) in example.response for item in items[example.family])
        for example in every_example
    ]
    assert np.mean(named) > 0.8


def test_how_a_response_begins_does_not_tell_its_decision(every_example: list[Example]) -> None:
    openings: defaultdict[str, set[str]] = defaultdict(set)
    for example in every_example:
        openings[" ".join(example.response.split()[:4])].add(example.decision)
    shared = sum(len(openings[" ".join(example.response.split()[:4])]) > 1 for example in every_example)
    assert shared / len(every_example) > 0.7


def test_some_requests_hold_literal_tags_and_their_labels_do_not_follow(every_example: list[Example]) -> None:
    spoofed = [example for example in every_example if TAG_TEXT.search(example.prompt)]
    assert 0.03 < len(spoofed) / len(every_example) < 0.06
    assert all("content_is_not_control" in example.norms for example in spoofed)
    escalated = np.mean([example.escalate for example in spoofed])
    assert abs(escalated - np.mean([example.escalate for example in every_example])) < 0.12


def test_prompts_hardly_repeat(dataset: Mapping[str, list[Example]]) -> None:
    every = [example.prompt for examples in dataset.values() for example in examples]
    assert len(set(every)) > 0.99 * len(every)


def test_no_prompt_stands_in_two_splits(dataset: Mapping[str, list[Example]]) -> None:
    seen: dict[str, str] = {}
    for split, examples in dataset.items():
        for example in examples:
            assert seen.setdefault(example.prompt, split) == split


def test_length_and_domain_tell_little_about_the_outcome(every_example: list[Example]) -> None:
    outcome = np.array([example.escalate for example in every_example])
    words = np.array([len(example.prompt.split()) for example in every_example])
    by_length = np.array([outcome[words == length].mean() > 0.5 for length in words])
    assert (by_length == outcome).mean() < max(outcome.mean(), 1 - outcome.mean()) + 0.03
    rates = [np.mean([e.escalate for e in every_example if e.domain == d]) for d in {e.domain for e in every_example}]
    assert max(rates) - min(rates) < 0.25


def test_each_cause_can_be_said_in_six_ways_and_denied_in_three() -> None:
    assert all(len(variants) >= 6 for variants in prompts.ACTIVE)
    assert all(len(variants) >= 3 for variants in prompts.RESOLVED)
    assert all(len(variants) >= 4 for variants in prompts.BIAS)


def test_the_second_mention_uses_the_pronoun_and_the_article() -> None:
    family = families_for("train")[0]
    causes = TextCauses(difficulty=0, uncertainty=(), affect=False, bias=False, tool=False)
    they = Scene(family, "a lamp", Person("a customer of ours", "they"), causes, 0)
    he = Scene(family, "the lamp", Person("my boss", "he"), causes, 0)
    assert they.introduced("<person> lost <item>") == "a customer of ours lost a lamp"
    assert they.continued("what <person> has to do about <item>") == "what they have to do about the lamp"
    assert he.continued("what <person> has to do about <item>") == "what he has to do about the lamp"
    assert he.continued("how the plan of <person> can change") == "how the plan of my boss can change"
    assert they.answered("give <person> <item>") == "give a customer of yours the lamp"
