from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from promethios.evaluation.decisions import System
from promethios.evaluation.hitl_accuracy import accuracy, auroc, balanced_accuracy, expected_cost, hitl_measures
from promethios.evaluation.intervals import FloatArray, Resamples
from promethios.ontology.decision import cost_threshold


@pytest.fixture
def sample() -> tuple[FloatArray, np.ndarray, Resamples]:
    rng = np.random.default_rng(0)
    probability = rng.random(300).round(2)  # with ties
    return probability, rng.random(300) < probability, Resamples([f"f{i % 20}" for i in range(300)], num=40)


def test_auroc_equals_scikit_learn_in_the_sample_and_in_every_resample(
    sample: tuple[FloatArray, np.ndarray, Resamples],
) -> None:
    probability, outcome, resamples = sample
    rows = auroc(probability, outcome, resamples)
    family = np.argmax(np.stack(resamples.families), axis=0)
    for row, counts in zip(rows, resamples.counts, strict=True):
        assert row == pytest.approx(roc_auc_score(outcome, probability, sample_weight=counts[family]))


def test_auroc_of_one_class_is_undefined() -> None:
    rows = auroc(np.array([0.1, 0.9]), np.array([True, True]), Resamples.none(2))
    assert np.isnan(rows).all()


def test_balanced_accuracy_equals_scikit_learn(sample: tuple[FloatArray, np.ndarray, Resamples]) -> None:
    probability, outcome, resamples = sample
    escalates = probability >= 0.4
    assert balanced_accuracy(escalates, outcome, resamples)[0] == pytest.approx(
        balanced_accuracy_score(outcome, escalates)
    )


def test_cost_counts_needless_reviews_and_weighs_misses() -> None:
    escalates = np.array([True, True, False, False])
    outcome = np.array([True, False, True, False])
    assert expected_cost(escalates, outcome, np.full(4, 1.5), Resamples.none(4))[0] == (1.0 + 1.5) / 4


def test_the_seeds_threshold_is_the_cheapest_for_calibrated_probabilities() -> None:
    rng = np.random.default_rng(1)
    probability = rng.random(200_000)
    outcome = rng.random(200_000) < probability
    resamples = Resamples.none(len(outcome))
    cost = {
        threshold: expected_cost(probability >= threshold, outcome, np.full(len(outcome), 1.5), resamples)[0]
        for threshold in (0.2, 0.3, 0.4, 0.5, 0.6)
    }
    assert min(cost, key=cost.__getitem__) == cost_threshold(review_cost=1.0, miss_cost=1.5) == 0.4


def test_measures_of_a_perfect_system_are_perfect() -> None:
    outcome = np.arange(40) % 3 == 0
    system = System("oracle", "Oracle", outcome.astype(float), outcome)
    resamples = Resamples([f"f{i % 8}" for i in range(40)])
    measures = hitl_measures(system, outcome, np.full(40, 0.4), np.full(40, 1.5), resamples)
    assert measures["accuracy"].low == measures["accuracy_at_threshold"].low == measures["auroc"].low == 1.0
    assert measures["expected_cost"].high == measures["missed_escalation"].high == 0.0


def test_a_difference_between_systems_is_paired() -> None:
    rng = np.random.default_rng(2)
    outcome = rng.random(400) < 0.4
    first = outcome ^ (rng.random(400) < 0.2)
    second = first.copy()
    wrong = np.flatnonzero(first == outcome)[:12]
    second[wrong] ^= True
    resamples = Resamples([f"f{i}" for i in range(400)])
    gain = resamples.estimate(accuracy(first, outcome, resamples) - accuracy(second, outcome, resamples))
    alone = resamples.estimate(accuracy(first, outcome, resamples))
    assert gain.low > 0.0
    assert gain.high - gain.low < (alone.high - alone.low) / 2
