"""Behaviours, quotas and labels."""

from __future__ import annotations

import numpy as np
import pytest

from promethios.data import mixture
from promethios.data.causes import TEXT_CAUSES
from promethios.data.example import BEHAVIOURS
from promethios.data.mixture import (
    BLOCK,
    Candidates,
    Split,
    behaviours,
    domain_quotas,
    effective_thresholds,
    quotas,
    right_decision,
)
from promethios.data.splits import open_split
from promethios.errors import DatasetError
from promethios.ontology.decision import decide
from promethios.ontology.governance_ontology import Ontology
from promethios.telemetry.header import DECISIONS


def test_ten_thousand_examples_are_the_seeds_mixture() -> None:
    assert quotas(10_000) == (3000, 4000, 2000, 1000)


@pytest.mark.parametrize(("count", "domains"), [(10, 8), (100, 8), (1230, 8), (2000, 8), (1000, 2)])
def test_quotas_are_dealt_evenly_to_the_domains(count: int, domains: int) -> None:
    quota = domain_quotas(count, domains)
    assert tuple(quota.sum(axis=0)) == quotas(count)
    assert np.ptp(quota.sum(axis=1)) <= 1
    assert (np.ptp(quota, axis=0) <= 1).all()


@pytest.mark.parametrize("count", [10, 100, 1230])
def test_a_sample_has_the_quotas_exactly(test_split: Split, count: int) -> None:
    cells = np.bincount(test_split.cell(test_split.sample(count)), minlength=8 * len(BEHAVIOURS))
    np.testing.assert_array_equal(cells.reshape(8, -1), domain_quotas(count, 8))


def test_a_quota_that_nothing_can_fill_ends_with_a_message(test_split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture, "MAX_BLOCKS", 2)
    with pytest.raises(DatasetError, match="split test: 3 of 5 examples cannot be found"):
        test_split.gather(np.array([2, 3]), lambda found: ((found,), np.zeros(len(found), dtype=np.int64)))


def test_a_behaviour_is_what_the_decision_function_decides() -> None:
    steps = np.round(np.linspace(0.01, 0.99, 99), 4)
    for degraded in (False, True):
        for index, causes in enumerate(TEXT_CAUSES):
            rows = np.full(len(steps), index)
            found = behaviours(rows, steps, np.full(len(steps), degraded), np.full(len(steps), 0.4))
            right = right_decision(rows, steps)
            for p, behaviour, best in zip(steps, found, right, strict=True):
                label = [0.0] * 4
                label[best] = 1 - p
                label[3] = p
                decision = decide(label, 0.4, degraded=degraded)
                expected = {"answer": 0, "caveat": 1, "clarify": 1, "escalate": 2 + causes.affect}[decision]
                assert behaviour == expected


def test_an_answer_needs_a_request_without_cause_and_little_doubt(candidates: Candidates) -> None:
    answers = candidates[np.flatnonzero(candidates.behaviour == 0)]
    assert (answers.probability < 0.10).all()
    assert not any(TEXT_CAUSES[index].has_mild_cause for index in answers.causes)
    assert not answers.telemetry.degraded().any()


def test_what_is_missing_is_asked_for(candidates: Candidates) -> None:
    clarify = np.array([TEXT_CAUSES[index].is_underspecified for index in candidates.causes])
    assert ((candidates.right == DECISIONS.index("clarify")) == clarify).all()


def test_soft_labels_are_calibrated_against_what_the_experts_did(candidates: Candidates) -> None:
    assert_calibrated(candidates)


@pytest.mark.parametrize("split", ["train", "test_held_out_values"])
def test_choosing_by_telemetry_leaves_soft_labels_calibrated(ontology: Ontology, split: str) -> None:
    assert_calibrated(open_split(split, 1, ontology).sample(20_000))


def assert_calibrated(candidates: Candidates) -> None:
    p, outcome = candidates.probability, candidates.outcome
    for low, high in ((0.0, 0.02), (0.02, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.0)):
        rows = (p >= low) & (p < high)
        assert rows.sum() > 100
        error = 4 * np.sqrt(p[rows].mean() * (1 - p[rows].mean()) / rows.sum())
        assert abs(outcome[rows].mean() - p[rows].mean()) < error, (low, high)


@pytest.mark.parametrize("behaviour", range(len(BEHAVIOURS)))
def test_quotas_leave_every_behaviour_calibrated(candidates: Candidates, behaviour: int) -> None:
    rows = candidates.behaviour == behaviour
    p = candidates.probability[rows]
    error = 4 * np.sqrt((p * (1 - p)).sum()) / rows.sum()
    assert abs(candidates.outcome[rows].mean() - p.mean()) < error


def test_most_posteriors_are_decided_and_some_are_not(candidates: Candidates) -> None:
    between = ((candidates.probability > 0.15) & (candidates.probability < 0.85)).mean()
    assert 0.08 < between < 0.18


def test_behaviours_do_not_follow_each_other_by_quota(candidates: Candidates) -> None:
    first, last = candidates.behaviour[:2000], candidates.behaviour[-2000:]
    for behaviour in range(len(BEHAVIOURS)):
        assert abs((first == behaviour).mean() - (last == behaviour).mean()) < 0.06


def test_a_seed_a_split_and_a_block_make_their_own_candidates(ontology: Ontology) -> None:
    streams = [open_split("test", 0, ontology), open_split("test", 1, ontology), open_split("calibration", 0, ontology)]
    blocks = [stream.block(number).probability for stream in streams for number in (0, 1)]
    assert all(len(block) == BLOCK for block in blocks)
    assert len({block.tobytes() for block in blocks}) == len(blocks)
    assert open_split("test", 0, ontology).block(1).probability.tobytes() == blocks[1].tobytes()


def test_a_twin_that_changes_nothing_is_judged_alike(test_split: Split, candidates: Candidates) -> None:
    some = candidates[np.arange(500)]
    twin = test_split.twin(some)
    np.testing.assert_array_equal(twin.probability, some.probability)
    np.testing.assert_array_equal(twin.behaviour, some.behaviour)


def test_the_outcomes_of_twins_are_drawn_from_their_posterior(test_split: Split, candidates: Candidates) -> None:
    twin = test_split.twin(candidates)
    p = twin.probability
    error = 4 * np.sqrt((p * (1 - p)).sum()) / len(p)
    assert abs(twin.outcome.mean() - p.mean()) < error
    assert (twin.outcome != candidates.outcome).any()


def test_degraded_telemetry_halves_the_threshold() -> None:
    found = effective_thresholds(np.array([False, True]), np.array([0.4, 0.3]))
    np.testing.assert_allclose(found, [0.4, 0.15])
