"""What the text shows, and what it demands."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from promethios.data.causes import (
    CAUSE_COST,
    TEXT_CAUSES,
    TEXT_WEIGHTS,
    TOOL_STATES,
    TOOL_WEIGHTS,
    UNCERTAINTY,
    UNDERSPECIFIED,
    TextCauses,
    demand,
    demanded_competence,
    difficulty_demand,
)
from promethios.ontology.governance_ontology import Ontology

PLAIN = TextCauses(difficulty=0, uncertainty=(), affect=False, bias=False, tool="none")


def test_the_causes_are_the_dimensions_of_the_ontology_in_their_order(ontology: Ontology) -> None:
    assert tuple(dimension.id for dimension in ontology.uncertainty_dimensions) == UNCERTAINTY
    assert {UNCERTAINTY[index] for index in UNDERSPECIFIED} == {"underspecified_context", "underspecified_intent"}


def test_the_table_holds_each_combination_once_and_each_can_occur() -> None:
    assert len(set(TEXT_CAUSES)) == len(TEXT_CAUSES) == len(TEXT_WEIGHTS)
    assert (TEXT_WEIGHTS > 0).all()


def test_a_request_has_room_for_at_most_two_things_beside_stakes_and_affect() -> None:
    assert max(len(causes.uncertainty) + causes.bias + (causes.tool != "none") for causes in TEXT_CAUSES) == 2


def test_a_plain_question_demands_what_its_difficulty_demands() -> None:
    for difficulty in range(3):
        assert demand(replace(PLAIN, difficulty=difficulty), 0.7) == difficulty_demand(difficulty, 0.7)


@pytest.mark.parametrize(
    "harder",
    [
        replace(PLAIN, difficulty=1),
        replace(PLAIN, affect=True),
        replace(PLAIN, bias=True),
        replace(PLAIN, tool="unreliable"),
        *(replace(PLAIN, uncertainty=(cause,)) for cause in range(len(UNCERTAINTY))),
    ],
    ids=str,
)
def test_every_cause_demands_more_competence(harder: TextCauses) -> None:
    assert demand(harder, 0.7) > demand(PLAIN, 0.7)


@pytest.mark.parametrize("state", ["needed", "fine"])
def test_a_look_up_that_is_open_or_fine_demands_nothing_more(state: str) -> None:
    assert demand(replace(PLAIN, tool=state), 0.7) == demand(PLAIN, 0.7)
    assert not replace(PLAIN, tool=state).has_mild_cause


def test_a_result_that_cannot_be_right_costs_more_when_more_is_at_stake() -> None:
    costs = [demand(replace(PLAIN, tool="unreliable", difficulty=d), 0.7) - difficulty_demand(d, 0.7) for d in range(3)]
    assert costs == [90, 120, 150]
    assert replace(PLAIN, tool="unreliable").has_mild_cause


def test_a_look_up_is_called_for_until_there_is_a_result_to_rely_on() -> None:
    called_for = [state for state in TOOL_STATES if replace(PLAIN, tool=state).calls_for_tool]
    assert called_for == ["needed", "unreliable"]


def test_tool_states_occur_as_often_as_their_weights_say() -> None:
    room = [len(causes.uncertainty) + causes.bias <= 1 for causes in TEXT_CAUSES]
    for state, weight in zip(TOOL_STATES, TOOL_WEIGHTS, strict=True):
        rows = [has_room and causes.tool == state for has_room, causes in zip(room, TEXT_CAUSES, strict=True)]
        assert TEXT_WEIGHTS[rows].sum() / TEXT_WEIGHTS[room].sum() == pytest.approx(weight / 100, abs=1e-4)


def test_a_domain_that_requires_more_trust_demands_more_competence() -> None:
    assert demand(PLAIN, 0.8) > demand(PLAIN, 0.5)


def test_demanded_competence_is_a_share_that_rises_with_the_demand() -> None:
    harder = replace(PLAIN, difficulty=2, uncertainty=(0,))
    plain, demanding = demanded_competence(PLAIN, 0.7), demanded_competence(harder, 0.7)
    assert 0 < plain < demanding < 1
    assert demanding == pytest.approx(1 / (1 + math.exp(-demand(harder, 0.7) / 100)), abs=5e-4)


def test_stakes_and_affect_together_demand_more_than_their_sum() -> None:
    base = demand(PLAIN, 0.7)
    stakes, affect = replace(PLAIN, difficulty=2), replace(PLAIN, affect=True)
    both = replace(PLAIN, difficulty=2, affect=True)
    assert demand(both, 0.7) - base > demand(stakes, 0.7) - base + demand(affect, 0.7) - base


def test_a_missing_piece_leads_the_wording_and_else_the_costliest_cause() -> None:
    assert replace(PLAIN, uncertainty=(0, 4)).leading == 4
    assert replace(PLAIN, uncertainty=(1, 3)).leading == max((1, 3), key=CAUSE_COST.__getitem__)
    assert PLAIN.leading is None
