from __future__ import annotations

import numpy as np
import pytest

from promethios.evaluation.conflict_resolution import channels_disagree, conflict_measures
from promethios.evaluation.intervals import Resamples
from promethios.telemetry.state import GovernanceState, Reading


@pytest.mark.parametrize(
    ("state", "conflict"),
    [
        (GovernanceState.of(trust=0.9, verify=0.2, bound=0.8, attest=0.9), False),  # fresh and attested: just noisy
        (GovernanceState(trust=Reading(0.9), verify=Reading(0.2, 300.0), bound=Reading(0.8)), True),
        (GovernanceState(trust=Reading(0.9), verify=Reading(0.8, 300.0), bound=Reading(0.8)), False),
        (GovernanceState(verify=Reading(0.2, 300.0)), False),  # nothing fresh to contradict it
        (GovernanceState(trust=Reading(0.9, 300.0), verify=Reading(0.2, 300.0)), False),
        (GovernanceState.of(trust=0.9, verify=0.2, attest=0.3), True),
        (GovernanceState.of(trust=0.9, verify=0.8, attest=0.3), False),
        (GovernanceState.of(trust=0.9, attest=0.3), False),
        (GovernanceState(), False),
        (None, False),
    ],
)
def test_channels_disagree_when_a_doubtful_reading_contradicts_the_others(
    state: GovernanceState | None, conflict: bool
) -> None:
    assert channels_disagree(state) is conflict


def test_score_is_the_accuracy_where_signals_conflict() -> None:
    outcome = np.array([True, True, False, False, True, False])
    escalates = np.array([True, False, False, False, True, True])
    channels = np.array([True, True, False, False, False, False])
    text = np.array([False, True, True, False, False, False])
    measures = conflict_measures(escalates, outcome, channels, text, Resamples(list("abcdef")))
    assert measures["score"].value == pytest.approx(2 / 3)
    assert measures["accuracy_without_conflict"].value == pytest.approx(2 / 3)
    assert measures["gap"].value == pytest.approx(0.0)
    assert measures["channels_disagree"].value == measures["text_against_telemetry"].value == 0.5
    assert measures["share_in_conflict"].value == 0.5


def test_without_conflicts_there_is_no_score() -> None:
    nowhere = np.zeros(4, bool)
    measures = conflict_measures(nowhere, nowhere, nowhere, nowhere, Resamples(list("abcd")))
    assert measures["score"].to_json() == {"value": None, "low": None, "high": None}
    assert measures["accuracy_without_conflict"].value == 1.0
