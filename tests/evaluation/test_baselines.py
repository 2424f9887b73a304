from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from promethios.data.example import Example
from promethios.evaluation.baselines import (
    Baseline,
    fit_baselines,
    minimum_margin,
    prompt_text,
    read_contrasts,
    trust_margin,
)
from promethios.evaluation.tag_features import tag_features
from promethios.telemetry.state import GovernanceState, Reading


@pytest.fixture(scope="module")
def evaluated(make_examples: Callable[[int, str], list[Example]]) -> list[Example]:
    return make_examples(600, "test")


@pytest.fixture(scope="module")
def baselines(make_examples: Callable[[int, str], list[Example]]) -> dict[str, Baseline]:
    fitted = fit_baselines(make_examples(1500, "train"), make_examples(600, "calibration"))
    return {baseline.key: baseline for baseline in fitted}


def test_each_source_helps_and_both_help_most(baselines: dict[str, Baseline], evaluated: list[Example]) -> None:
    outcome = [example.escalate for example in evaluated]
    area = {key: roc_auc_score(outcome, baseline.predict(evaluated)) for key, baseline in baselines.items()}
    assert area["never"] == area["always"] == 0.5
    assert 0.5 < area["trust_rule"] < area["tags"] < area["text_and_tags"] < area["ceiling"]
    assert 0.5 < area["text"] < area["text_and_tags"]
    assert area["boosted_tags"] == pytest.approx(area["tags"], abs=0.1)


def test_classifiers_learn_the_soft_labels_and_stay_calibrated(
    baselines: dict[str, Baseline], evaluated: list[Example]
) -> None:
    truth = np.mean([example.soft_label[3] for example in evaluated])
    for key in ("tags", "text", "text_and_tags"):
        assert baselines[key].predict(evaluated).mean() == pytest.approx(truth, abs=0.04)


def test_each_classifier_says_what_was_chosen(baselines: dict[str, Baseline]) -> None:
    settings = {key: baseline.settings for key, baseline in baselines.items() if baseline.settings}
    assert set(settings) == {"tags", "boosted_tags", "text", "text_and_tags"}
    assert "n-grams" in settings["text"] and "leaves" in settings["boosted_tags"]


def test_contrasts_teach_the_classifiers_that_read_the_text_and_no_other(
    baselines: dict[str, Baseline], evaluated: list[Example], make_examples: Callable[[int, str], list[Example]]
) -> None:
    train, calibration = make_examples(1500, "train"), make_examples(600, "calibration")
    for baseline in fit_baselines(train, calibration, make_examples(100, "train_contrasts")):
        same = np.array_equal(baseline.predict(evaluated), baselines[baseline.key].predict(evaluated))
        assert same == (baseline.key not in ("text", "text_and_tags")), baseline.key


def test_a_dataset_without_contrasts_gives_none(
    dataset: Path, make_examples: Callable[[int, str], list[Example]]
) -> None:
    assert read_contrasts(dataset) == make_examples(10, "train_contrasts")
    (dataset / "train_contrasts.jsonl").unlink()
    assert read_contrasts(dataset) == []


def test_no_baseline_reads_the_response_or_the_label(baselines: dict[str, Baseline], evaluated: list[Example]) -> None:
    blinded = [
        dataclasses.replace(
            example,
            messages=(*example.messages[:-1], {"role": "assistant", "content": "x"}),
            escalate=1 - example.escalate,
            decision="answer",
            uncertainty=(0.0,) * 6,
        )
        for example in evaluated
    ]
    for baseline in baselines.values():
        np.testing.assert_array_equal(baseline.predict(blinded), baseline.predict(evaluated))


def test_rules_say_what_their_titles_say(evaluated: list[Example]) -> None:
    example = dataclasses.replace(
        evaluated[0], state=GovernanceState.of(trust=0.7, verify=0.3, attest=0.9), header_domain="healthcare"
    )
    assert trust_margin(example) == pytest.approx(0.7 - 0.75)
    assert minimum_margin(example) == pytest.approx(0.3 - 0.4)
    silent = dataclasses.replace(example, state=None)
    assert trust_margin(silent) is None and minimum_margin(silent) is None


def test_without_a_reading_a_rule_does_what_training_shows_to_be_right(
    make_examples: Callable[[int, str], list[Example]],
) -> None:
    train = make_examples(300, "train")
    silent = dataclasses.replace(train[0], state=None)
    for escalate in (0, 1):
        shaped = [dataclasses.replace(e, escalate=escalate) if e.state is None else e for e in train]
        rules = {baseline.key: baseline for baseline in fit_baselines(shaped)}
        assert rules["trust_rule"].predict([silent])[0] == rules["minimum_rule"].predict([silent])[0] == escalate


def test_tag_features_tell_missing_from_stale_from_fresh(evaluated: list[Example]) -> None:
    states = [
        None,
        GovernanceState(),
        GovernanceState.of(trust=0.5),
        GovernanceState(trust=Reading(0.5, 70.0)),
        GovernanceState.of(trust=0.5, emotion="CALM"),
    ]
    rows = tag_features([dataclasses.replace(evaluated[0], state=state) for state in states])
    assert len({tuple(row) for row in rows}) == len(states)
    assert rows.min() >= 0.0 and rows.max() <= 1.0


def test_prompt_text_is_the_conversation_without_the_response(evaluated: list[Example]) -> None:
    example = dataclasses.replace(
        evaluated[0],
        messages=tuple(
            {"role": role, "content": content}
            for role, content in (("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four"))
        ),
    )
    assert prompt_text(example) == "one\ntwo\nthree"
