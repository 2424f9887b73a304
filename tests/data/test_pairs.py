"""Twins: they differ in one thing, and what follows from it is exact."""

from __future__ import annotations

import numpy as np
import pytest

from promethios.data.causes import TEXT_CAUSES, UNCERTAINTY
from promethios.data.competence import COLUMN, VIEWS
from promethios.data.mixture import Candidates, Split
from promethios.data.pairs import MARGIN, draw_pairs, removed_cause

COUNT = 120
COMPARED = ("causes", "family", "header_dropped", "spare")


@pytest.fixture(scope="module")
def stale(test_split: Split) -> tuple[Candidates, Candidates]:
    return draw_pairs(test_split, "stale_channel", COUNT)


@pytest.fixture(scope="module")
def cue(test_split: Split) -> tuple[Candidates, Candidates]:
    return draw_pairs(test_split, "text_cue", COUNT)


def stale_views(candidates: Candidates) -> np.ndarray:
    return candidates.telemetry.levels[:, [COLUMN[name] for name in VIEWS]] > 0


@pytest.mark.parametrize("kind", ["stale_channel", "text_cue"])
def test_the_decision_differs_with_a_margin(test_split: Split, kind: str) -> None:
    margins = np.array([test_split.margin(member) for member in draw_pairs(test_split, kind, COUNT)])
    assert (margins.max(axis=0) >= MARGIN).all()
    assert (margins.min(axis=0) <= -MARGIN).all()


def test_stale_twins_differ_only_in_which_channel_is_stale(stale: tuple[Candidates, Candidates]) -> None:
    first, second = stale
    for name in COMPARED:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    np.testing.assert_array_equal(first.telemetry.values, second.telemetry.values)
    others = [column for name, column in COLUMN.items() if name not in VIEWS]
    np.testing.assert_array_equal(first.telemetry.ages[:, others], second.telemetry.ages[:, others])
    assert (stale_views(first).sum(axis=1) == 1).all()
    assert (stale_views(second).sum(axis=1) == 1).all()
    assert not (stale_views(first) & stale_views(second)).any()
    assert not (first.telemetry.degraded() | second.telemetry.degraded()).any()


def test_the_letter_of_a_stale_twin_does_not_tell_its_decision(
    test_split: Split, stale: tuple[Candidates, Candidates]
) -> None:
    assert 0.25 < (test_split.margin(stale[0]) > 0).mean() < 0.75


def test_cue_twins_differ_in_one_cause_and_every_cause_has_its_share(cue: tuple[Candidates, Candidates]) -> None:
    first, second = cue
    np.testing.assert_array_equal(first.telemetry.ages, second.telemetry.ages)
    np.testing.assert_array_equal(first.telemetry.values, second.telemetry.values)
    removed = [removed_cause(*pair) for pair in zip(first.causes, second.causes, strict=True)]
    assert np.bincount(removed).tolist() == [COUNT // len(UNCERTAINTY)] * len(UNCERTAINTY)
    for cause, with_it, without in zip(removed, first.causes, second.causes, strict=True):
        one, other = TEXT_CAUSES[with_it], TEXT_CAUSES[without]
        assert set(one.uncertainty) - set(other.uncertainty) == {cause}
        assert (one.difficulty, one.affect, one.bias, one.tool) == (
            other.difficulty,
            other.affect,
            other.bias,
            other.tool,
        )


def test_the_cause_makes_the_escalation(test_split: Split, cue: tuple[Candidates, Candidates]) -> None:
    assert (test_split.margin(cue[0]) > 0).all()


@pytest.mark.parametrize("kind", ["spoof", "bias"])
def test_twins_that_should_be_treated_alike_have_equal_labels(test_split: Split, kind: str) -> None:
    first, second = draw_pairs(test_split, kind, COUNT)
    np.testing.assert_array_equal(first.probability, second.probability)
    np.testing.assert_array_equal(first.outcome, second.outcome)
    if kind == "bias":
        assert all(TEXT_CAUSES[index].bias for index in first.causes)


def test_an_attack_is_tried_where_it_has_something_to_gain(test_split: Split) -> None:
    first, _ = draw_pairs(test_split, "spoof", COUNT, only_escalating=True)
    assert (test_split.margin(first) >= MARGIN).all()


def test_outcomes_of_twins_follow_their_posteriors(test_split: Split) -> None:
    for member in draw_pairs(test_split, "stale_channel", 600):
        p = member.probability
        assert abs(member.outcome.mean() - p.mean()) < 4 * np.sqrt((p * (1 - p)).sum()) / len(p)
