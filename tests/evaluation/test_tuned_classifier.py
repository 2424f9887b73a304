from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from promethios.data.example import Example
from promethios.evaluation import tuned_classifier
from promethios.evaluation.tuned_classifier import Candidate, TrainingExamples, best_candidate, fitted

WEAK = Candidate(LogisticRegression(C=1e-6), "hardly learns")
FAIR = Candidate(LogisticRegression(C=1.0), "learns")


@pytest.fixture(scope="module")
def train(make_examples: Callable[[int, str], list[Example]]) -> list[Example]:
    return make_examples(600, "train")


@pytest.fixture(scope="module")
def calibration(make_examples: Callable[[int, str], list[Example]]) -> list[Example]:
    return make_examples(1600, "calibration")


def test_the_candidate_that_carries_over_to_new_families_is_chosen(train: list[Example]) -> None:
    words = Candidate(LogisticRegression(C=1.0), "reads", ngram_range=(1, 2))
    assert best_candidate([WEAK, words], TrainingExamples(train)) is words
    # A word that names the family tells all about the families of the folds learnt from, and nothing about another.
    shares = {family: share for share, family in enumerate(sorted({example.family or "" for example in train}))}
    named = [
        dataclasses.replace(
            example,
            messages=({"role": "user", "content": f"family{shares[example.family or '']}"}, example.messages[-1]),
            soft_label=(0.0, 0.0, 1.0 - (odd := shares[example.family or ""] % 2), float(odd)),
        )
        for example in train
    ]
    by_heart = Candidate(LogisticRegression(C=100.0), "by heart", ngram_range=(1, 1), reads_tags=False)
    assert best_candidate([by_heart, WEAK], TrainingExamples(named)) is WEAK


def test_confidence_alone_does_not_decide_the_choice(train: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    of_fit = tuned_classifier._log_odds
    sample, folds = (
        TrainingExamples(train),
        [(np.arange(300), np.arange(300, 600)), (np.arange(300, 600), np.arange(300))],
    )
    loss = tuned_classifier._validation_loss(FAIR, sample, folds)
    monkeypatch.setattr(tuned_classifier, "_log_odds", lambda *args: 5.0 * of_fit(*args) + 1.0)
    assert tuned_classifier._validation_loss(FAIR, sample, folds) == pytest.approx(loss, abs=1e-3)


def test_too_few_families_to_divide_choose_the_first_candidate(train: list[Example]) -> None:
    alike = [dataclasses.replace(example, family=f"family {index % 2}") for index, example in enumerate(train)]
    assert best_candidate([WEAK, FAIR], TrainingExamples(alike)) is WEAK


def test_the_sample_is_bounded_and_the_same_every_time(train: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = TrainingExamples(train)
    assert whole.sample() is whole
    monkeypatch.setattr(tuned_classifier, "SAMPLE_SIZE", 50)
    ids = [example.id for example in whole.sample().examples]
    assert len(set(ids)) == 50
    assert ids == [example.id for example in TrainingExamples(train).sample().examples]


def test_calibration_corrects_the_mean_and_each_domain(train: list[Example], calibration: list[Example]) -> None:
    # A world in which experts escalate all of one domain more often than the training examples say.
    shifted = [
        dataclasses.replace(example, escalate=1) if example.header_domain == "legal" else example
        for example in calibration
    ]
    examples = TrainingExamples(train)
    plain, calibrated = fitted(FAIR, examples, ()), fitted(FAIR, examples, shifted)
    outcome = np.mean([example.truth for example in shifted])
    assert abs(calibrated(shifted).mean() - outcome) < 0.05 < abs(plain(shifted).mean() - outcome)
    silent = [dataclasses.replace(shifted[0], header_domain=domain) for domain in ("legal", "finance", None)]
    legal, finance, unstated = calibrated(silent)
    assert legal > unstated > finance
    assert np.ptp(plain(silent[:2])) < 0.2


def test_an_unread_source_changes_nothing(train: list[Example], calibration: list[Example]) -> None:
    mute = [dataclasses.replace(example, state=None, header_domain=None) for example in calibration]
    other = [dataclasses.replace(e, messages=({"role": "user", "content": "x"}, e.messages[-1])) for e in calibration]
    examples = TrainingExamples(train)
    of_text = fitted(Candidate(LogisticRegression(), "", (1, 2), reads_tags=False), examples, ())
    of_tags = fitted(FAIR, examples, ())
    np.testing.assert_array_equal(of_text(mute), of_text(calibration))
    np.testing.assert_array_equal(of_tags(other), of_tags(calibration))
