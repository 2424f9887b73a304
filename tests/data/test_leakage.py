"""The ten rules that keep a dataset from being solved without reading it; each on a full dataset."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from promethios.data.example import BEHAVIOURS, Example
from promethios.data.folder import SPLITS
from promethios.data.leakage import (
    MAX_SIMILARITY,
    SHORTCUT_CEILINGS,
    check_no_repeats,
    near_duplicates,
)
from promethios.data.mixture import Candidates, Split
from promethios.data.splits import PLANS
from promethios.errors import DatasetError
from promethios.telemetry.state import CHANNELS, NUMBER_STEPS, stale_level
from promethios.telemetry.tags import TAG_TEXT

Dataset = Mapping[str, list[Example]]
LARGEST_DISTANCE = 0.45
FAMILIES_OF_A_PHRASE = 20
TRAINING_SPLITS = {name for name, plan in PLANS.items() if plan.use == "train"}


def outcomes(examples: list[Example]) -> np.ndarray:
    return np.array([example.truth for example in examples])


def header_features(examples: list[Example]) -> np.ndarray:
    """Value and stale level of every channel, -1 where missing."""
    rows = np.full((len(examples), 2 * len(CHANNELS)), -1.0)
    for row, example in zip(rows, examples, strict=True):
        for column, (channel, reading) in enumerate(example.state or ()):
            if reading is not None:
                number = reading.value if channel.is_number else channel.values.index(str(reading.value))
                row[2 * column : 2 * column + 2] = number, stale_level(channel, reading)
    return rows


def test_rule_1_the_label_is_not_computed_from_the_tags(dataset: Dataset, measured: dict[str, Any]) -> None:
    train, test = dataset["train"], dataset["test"]
    learner = HistGradientBoostingClassifier(max_iter=40, random_state=0).fit(header_features(train), outcomes(train))
    accuracy = learner.score(header_features(test), outcomes(test))
    ceilings = measured["test"]["ceilings"]
    assert accuracy < ceilings["telemetry_only"]["accuracy_at_0.5"] + 0.02
    assert accuracy < ceilings["both"]["accuracy_at_0.5"] - 0.1


def test_rule_2_families_are_split_and_then_items(dataset: Dataset) -> None:
    families = {split: {example.family for example in examples} for split, examples in dataset.items()}
    trained = set().union(*(families[split] for split in TRAINING_SPLITS))
    for split in set(SPLITS) - TRAINING_SPLITS:
        assert trained.isdisjoint(families[split]), split


def test_rule_2_no_prompt_of_training_comes_back_in_another_split(dataset: Dataset) -> None:
    check_no_repeats(dataset)
    train = dataset["train"][:50]
    for changed in (lambda text: text, lambda text: f"Hello. {text}", lambda text: f"{text} Thanks!"):
        copy = replace(train[7], id="copy", messages=as_user(changed(train[7].prompt)))
        with pytest.raises(DatasetError, match="train-00008 and copy are nearly the same prompt"):
            check_no_repeats({**{split: [] for split in SPLITS}, "train": train, "test": [copy]})


def test_rule_2_no_prompt_of_validation_calibration_or_a_test_comes_back_in_another_of_them(dataset: Dataset) -> None:
    copied = [replace(dataset["test"][7], id="copy")]
    for split in ("validation", "calibration", "test_held_out_domains"):
        with pytest.raises(DatasetError, match=r"(test-00008 and copy|copy and test-00008) are nearly the same prompt"):
            check_no_repeats({"test": dataset["test"][:50], split: copied})


def test_rule_2_splits_of_the_same_families_and_items_may_share_a_prompt(dataset: Dataset) -> None:
    check_no_repeats({"train": dataset["train"][:50], "train_pairs": dataset["train"][:50]})
    check_no_repeats({"test": dataset["test"][:50], "tool_use": dataset["test"][:50]})


def as_user(text: str) -> tuple[dict[str, str], ...]:
    return ({"role": "user", "content": text},)


def test_rule_2_near_duplicates_are_found_exactly() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("abcd"), size=rng.integers(3, 30))) for _ in range(300)]
    first, second = texts[:150], texts[150:]
    second += [" ".join(text.split()[1:]) for text in first[:50]]

    def shingles(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}

    def jaccard(one: str, other: str) -> float:
        return len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))

    expected = {
        (i, j): similarity
        for i, one in enumerate(first)
        for j, other in enumerate(second)
        if (similarity := jaccard(one, other)) >= MAX_SIMILARITY
    }
    assert len(expected) > 20
    found = list(near_duplicates([first, second]))
    assert {(one, other) for (one, _), (other, _), _ in found} == {(0, 1)}
    assert {(i, j): similarity for (_, i), (_, j), similarity in found} == expected


def test_rule_2_each_part_is_compared_with_every_other_and_not_with_itself() -> None:
    text = "may I take both tablets at once"
    found = [(first, second) for first, second, _ in near_duplicates([[text, text], ["no"], [text], [text]])]
    assert found == [
        ((0, 0), (2, 0)),
        ((0, 1), (2, 0)),
        ((0, 0), (3, 0)),
        ((0, 1), (3, 0)),
        ((2, 0), (3, 0)),
    ]


def test_rule_3_whole_domains_are_held_out(dataset: Dataset) -> None:
    held_out = {example.domain for example in dataset["test_held_out_domains"]}
    assert held_out == {"insurance", "public_services"}
    for split in set(SPLITS) - {"test_held_out_domains"}:
        domains = {example.domain for example in dataset[split]}
        assert held_out.isdisjoint(domains)
        assert len(domains) == 8


def test_rule_4_headers_of_a_test_were_not_seen_in_training(dataset: Dataset) -> None:
    # The held-out value intervals are tested with the splits.
    seen = {header_features([example]).tobytes() for example in dataset["train"] if example.state is not None}
    tested = [header_features([example]).tobytes() for example in dataset["test"] if example.state is not None]
    assert np.mean([header in seen for header in tested]) < 0.01


def requests(examples: list[Example]) -> list[str]:
    return [" ".join(message["content"] for message in example.request) for example in examples]


def lengths(examples: list[Example]) -> np.ndarray:
    return np.array([[len(text), len(text.split())] for text in requests(examples)])


SHORTCUTS = {
    "words": [
        make_pipeline(
            FunctionTransformer(requests),
            TfidfVectorizer(ngram_range=(1, n), sublinear_tf=True),
            LogisticRegression(C=c, max_iter=1000),
        )
        for n, c in ((1, 1.0), (2, 4.0))
    ],
    "length": [make_pipeline(FunctionTransformer(lengths), DecisionTreeClassifier(max_depth=5, min_samples_leaf=50))],
    **{
        name: [
            make_pipeline(
                FunctionTransformer(lambda examples, name=name: [{name: getattr(e, name)} for e in examples]),
                DictVectorizer(),
                LogisticRegression(max_iter=1000),
            )
        ]
        for name in ("domain", "template")
    },
}


@pytest.mark.parametrize("shortcut", SHORTCUT_CEILINGS)
def test_rule_5_a_shortcut_stays_below_its_declared_ceiling(dataset: Dataset, shortcut: str) -> None:
    train, test = dataset["train"], dataset["test"]
    for classifier in SHORTCUTS[shortcut]:
        accuracy = classifier.fit(train, outcomes(train)).score(test, outcomes(test))
        assert accuracy <= SHORTCUT_CEILINGS[shortcut]


def test_rule_5_the_declared_ceilings_leave_room_for_a_reader(measured: dict[str, Any]) -> None:
    text_only = measured["test"]["ceilings"]["text_only"]["accuracy_at_0.5"]
    assert max(SHORTCUT_CEILINGS.values()) < text_only - 0.04


def test_rule_6_no_response_shows_a_number_or_speaks_of_telemetry(every_example: list[Example]) -> None:
    metric = re.compile(
        r"\d|%|\b(trust|verify|verification|attest\w*) (score|level|value)s?\b|telemetry|confidence score|<|\|",
        re.IGNORECASE,
    )
    assert not [example.response for example in every_example if metric.search(example.response)]


def test_rule_7_how_a_response_begins_is_not_unique_to_a_behaviour(dataset: Dataset) -> None:
    train = dataset["train"]
    families: defaultdict[str, set[str]] = defaultdict(set)
    for example in train:
        for word in example.response.split():
            families[word].add(str(example.family))
    # A word of few families belongs to a topic; the words around it must not tell the behaviour.
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for example in train:
        opening = ["*" if len(families[word]) < FAMILIES_OF_A_PHRASE else word for word in example.response.split()[:8]]
        counts[" ".join(opening)][str(example.behaviour)] += 1
    often = [of_opening for of_opening in counts.values() if of_opening.total() >= 20]
    shared = sum(of_opening.total() for of_opening in often if len(of_opening) > 1)
    assert sum(of_opening.total() for of_opening in often) > 0.5 * len(train)
    assert shared > 0.95 * sum(of_opening.total() for of_opening in often)


def test_rule_8_the_pipelines_decision_is_pending_but_for_a_few_distractors(dataset: Dataset) -> None:
    outcome: defaultdict[str, list[bool]] = defaultdict(list)
    for example in dataset["train"]:
        if example.state is not None and example.state.decision is not None:
            outcome[str(example.state.decision.value)].append(example.truth)
    told = sum(map(len, outcome.values()))
    assert len(outcome["PENDING"]) / told == pytest.approx(0.94, abs=0.01)
    base = sum(map(sum, outcome.values())) / told
    for word, truths in outcome.items():
        assert abs(np.mean(truths) - base) < 4 * np.sqrt(base * (1 - base) / len(truths)), word


def test_rule_9_some_requests_hold_an_attack_and_labels_do_not_follow(dataset: Dataset) -> None:
    train = dataset["train"]
    attacked = [example for example in train if "content_is_not_control" in example.norms]
    assert len(attacked) / len(train) == pytest.approx(0.05, abs=0.01)
    assert any(TAG_TEXT.search(example.prompt) for example in attacked)
    assert not [e for e in train if TAG_TEXT.search(e.prompt) and "content_is_not_control" not in e.norms]
    assert abs(outcomes(attacked).mean() - outcomes(train).mean()) < 0.06


def test_rule_10_with_the_header_of_another_request_an_ideal_reader_falls_below_the_text(
    test_split: Split, candidates: Candidates, measured: dict[str, Any]
) -> None:
    # Evaluation does the same to a trained model; here the exact posterior is what reads.
    others = np.random.default_rng(0).permutation(len(candidates))
    shuffled = test_split.twin(candidates, telemetry=candidates.telemetry[others]).probability
    own, other = (((p >= 0.5) == candidates.outcome).mean() for p in (candidates.probability, shuffled))
    text_only = measured["test"]["ceilings"]["text_only"]["accuracy_at_0.5"]
    assert own > text_only + 0.06
    assert other < text_only + 0.005


def test_no_channel_alone_tells_two_behaviours_apart(dataset: Dataset, measured: dict[str, Any]) -> None:
    told = measured["train"]["channel_distances"]
    assert max(told.values()) < LARGEST_DISTANCE
    for channel in CHANNELS:
        of_behaviour: dict[str, list[float]] = {behaviour: [] for behaviour in BEHAVIOURS}
        for example in dataset["train"]:
            reading = getattr(example.state, channel.name, None)
            if reading is not None:
                value = reading.value if channel.is_number else channel.values.index(reading.value)
                of_behaviour[str(example.behaviour)].append(value)
        grid = np.arange(NUMBER_STEPS + 1) / NUMBER_STEPS if channel.is_number else np.arange(len(channel.values))
        shares = np.array([[np.mean(np.array(v) <= x + 1e-9) for x in grid] for v in of_behaviour.values()])
        assert np.ptp(shares, axis=0).max() == pytest.approx(told[channel.name], abs=1e-4), channel.name
