"""What users and the assistant say: the right length, no raw metric, the right manner, no easy way to cheat."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from promethios.data import prompts, responses
from promethios.data.causes import TextCauses
from promethios.data.example import Example
from promethios.data.families import Person, families_for
from promethios.data.scene import Scene
from promethios.ontology.governance_ontology import Ontology
from promethios.telemetry.tags import TAG_TEXT

RAW = re.compile(
    r"\d|%|trust score|verif|attest|telemetry|threshold|probabilit|metric|intensity|CONSENSUS|<|\|",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def ordinary(every_example: list[Example]) -> list[Example]:
    """Examples that are no member of a pair and hold no attack."""
    return [e for e in every_example if e.pair is None and "content_is_not_control" not in e.norms]


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


def test_texts_have_the_length_of_a_short_message(ordinary: list[Example]) -> None:
    for texts, module in (
        ([example.prompt for example in ordinary], prompts),
        ([example.response for example in ordinary], responses),
    ):
        words = np.array([len(text.split()) for text in texts])
        assert ((words >= module.MIN_WORDS) & (words <= module.MAX_WORDS)).mean() > 0.93
        assert words.min() >= module.MIN_WORDS - 5
        assert words.max() <= module.MAX_WORDS + 25
        assert words.mean() < 45


def test_the_vocabulary_is_small_enough_to_learn(ordinary: list[Example]) -> None:
    texts = " ".join(f"{example.prompt} {example.response}" for example in ordinary)
    assert 2500 < len(set(re.findall(r"[a-z]+", texts.lower()))) < 6000


def test_texts_are_clean_sentences(ordinary: list[Example]) -> None:
    wrong = re.compile(r"[<>{}\[\]|]|  |\.\.|\ba [aeio]\w\w|\b[Tt]hey (is|has|was|needs)\b|\b(\w+) \2\b")
    for example in ordinary:
        for message in example.messages:
            assert not wrong.search(message["content"]), message["content"]
        assert example.response[0].isupper()
        assert example.response[-1] in ".?"
        assert not re.search(r"\b(my|our|ours)\b", example.response.replace("my advice", "")), example.response


def test_a_clarification_asks_and_nothing_else_does(every_example: list[Example]) -> None:
    for example in every_example:
        assert ("?" in example.response) == (example.decision == "clarify")


def test_an_escalation_names_the_expert_and_only_the_emotional_one_comforts(
    every_example: list[Example], ontology: Ontology
) -> None:
    for example in every_example:
        if example.decision == "escalate":
            assert ontology.domain(example.domain).expert in example.response
            comforts = example.response.startswith(responses.comfort())
            assert comforts == (example.behaviour == "uncertain_emotional_hitl")


def test_responses_are_about_the_request(every_example: list[Example]) -> None:
    items = {family.id: family.items for use in ("train", "evaluation", "held_out") for family in families_for(use)}
    named = [
        any(re.sub("^an? ", "", item) in example.response for item in items[example.family])
        for example in every_example
    ]
    assert np.mean(named) > 0.8


def test_how_a_response_begins_does_not_tell_its_decision(ordinary: list[Example]) -> None:
    """Eight words tell whether the writer is upset, and hardly more than that."""
    train = [example for example in ordinary if example.split == "train"]
    test = [example for example in ordinary if example.split == "test"]
    words = CountVectorizer(ngram_range=(1, 2), min_df=3)
    matrix = words.fit_transform(" ".join(example.response.split()[:8]) for example in train)
    model = LogisticRegression(max_iter=300).fit(matrix, [example.decision for example in train])
    found = model.score(
        words.transform(" ".join(example.response.split()[:8]) for example in test), [e.decision for e in test]
    )
    assert found < max(Counter(e.decision for e in test).values()) / len(test) + 0.05


def test_some_requests_hold_an_attack_and_their_labels_do_not_follow(dataset: Mapping[str, list[Example]]) -> None:
    train = dataset["train"]
    spoofed = [example for example in train if "content_is_not_control" in example.norms]
    assert 0.03 < len(spoofed) / len(train) < 0.07
    assert 0.1 < np.mean([bool(TAG_TEXT.search(example.prompt)) for example in spoofed]) < 0.6
    escalated = np.mean([example.escalate for example in spoofed])
    assert abs(escalated - np.mean([example.escalate for example in train])) < 0.12


def test_prompts_hardly_repeat(ordinary: list[Example]) -> None:
    every = [example.prompt for example in ordinary]
    assert len(set(every)) > 0.99 * len(every)


def test_the_result_of_a_look_up_stands_before_the_response(ordinary: list[Example]) -> None:
    for example in ordinary:
        made = example.tool_state in ("fine", "unreliable")
        assert [message["role"] for message in example.request] == (["user", "assistant", "tool"] if made else ["user"])


def test_length_and_domain_tell_little_about_the_outcome(dataset: Mapping[str, list[Example]]) -> None:
    train, test = dataset["train"], dataset["test"]
    by_length: defaultdict[int, list[bool]] = defaultdict(list)
    for example in train:
        by_length[len(example.prompt.split())].append(example.truth)
    guessed = [np.mean(by_length.get(len(example.prompt.split()), [False])) > 0.5 for example in test]
    outcome = np.array([example.truth for example in test])
    assert (np.array(guessed) == outcome).mean() < max(outcome.mean(), 1 - outcome.mean()) + 0.03
    rates = [np.mean([e.truth for e in train if e.domain == domain]) for domain in {e.domain for e in train}]
    assert max(rates) - min(rates) < 0.25


def test_the_second_mention_uses_the_pronoun_and_the_article() -> None:
    family = families_for("train")[0]
    causes = TextCauses(difficulty=0, uncertainty=(), affect=False, bias=False, tool="none")
    they = Scene(family, "a lamp", Person("a customer of ours", "they"), causes, 0)
    he = Scene(family, "the lamp", Person("my boss", "he"), causes, 0)
    assert they.introduced("<person> lost <item>") == "a customer of ours lost a lamp"
    assert they.continued("what <person> has to do about <item>") == "what they have to do about the lamp"
    assert he.continued("what <person> has to do about <item>") == "what he has to do about the lamp"
    assert he.continued("how the plan of <person> can change") == "how the plan of my boss can change"
    assert they.answered("give <person> <item>") == "give a customer of yours the lamp"
