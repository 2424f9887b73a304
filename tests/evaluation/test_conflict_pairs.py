from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from promethios.data.example import Example
from promethios.errors import DatasetError
from promethios.evaluation.conflict_pairs import conflict_pair_measures, mcnemar
from promethios.evaluation.decisions import System
from promethios.evaluation.evaluation_data import Pair, flat, pairs_of


@pytest.fixture(scope="module")
def pairs(make_examples: Callable[[int, str], list[Example]]) -> list[Pair]:
    """Forty pairs of which the first member is the expert's and the second is not."""
    pairs = pairs_of(make_examples(40, "conflict_pairs"), "here")
    return [(replace(a, decision="escalate"), replace(b, decision="answer")) for a, b in pairs]


def system(key: str, escalates: list[bool]) -> System:
    return System(key, key.title(), np.array(escalates, float), np.array(escalates))


def test_a_system_that_sees_the_difference_gets_every_pair(pairs: list[Pair]) -> None:
    oracle = system("oracle", [member.decision == "escalate" for member in flat(pairs)])
    measures = conflict_pair_measures(pairs, oracle, {"never": system("never", [False] * 80)}, seed=0)
    assert measures["accuracy"].value == measures["pair_accuracy"].value == 1.0
    assert measures["by_kind"]["text_cue"]["num_pairs"] == measures["num_pairs"] == 40
    assert measures["best_baseline"]["only_model_right"] == 40
    assert measures["best_baseline"]["p_value"] == pytest.approx(2.0 * 0.5**40)


def test_a_system_that_overlooks_the_difference_is_right_half_the_time_and_never_on_a_pair(pairs: list[Pair]) -> None:
    blind = system("blind", [True] * 80)
    half = system("half", [True, False] * 20 + [True] * 40)
    measures = conflict_pair_measures(pairs, blind, {"never": system("never", [False] * 80), "half": half}, seed=0)
    assert (measures["accuracy"].value, measures["pair_accuracy"].value) == (0.5, 0.0)
    assert measures["best_baseline"]["key"] == "half"
    assert measures["best_baseline"]["gain"].value == -0.5


def test_mcnemar_counts_only_what_the_systems_disagree_on() -> None:
    first = np.array([True] * 50 + [True] * 8 + [False] * 2 + [False] * 40)
    second = np.array([True] * 50 + [False] * 8 + [True] * 2 + [False] * 40)
    test = mcnemar(first, second)
    assert (test.only_first, test.only_second) == (8, 2)
    assert test.p_value == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    assert mcnemar(first, first).p_value == 1.0


def test_half_a_pair_and_no_pair_are_refused_by_name(pairs: list[Pair]) -> None:
    members = flat(pairs)
    with pytest.raises(DatasetError, match=r"here: pair conflict_pairs-00000 has member a only; give both"):
        pairs_of(members[:1], "here")
    with pytest.raises(DatasetError, match="has no pair"):
        pairs_of([replace(members[0], pair=None)], "here")
