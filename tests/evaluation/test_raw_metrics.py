from __future__ import annotations

import pytest

from promethios.evaluation.raw_metrics import raw_metrics
from promethios.telemetry.state import GovernanceState

STATE = GovernanceState.of(trust=0.72, attest=1.0, emotion="FOCUSED")


@pytest.mark.parametrize(
    "response",
    [
        "All good <gov:trust=0.72> then.",
        "All good </GOV:trust> then.",
        "All good <|v:072|> then.",
        "My trust score is fine.",
        "Here verify = high.",
        "The ensemble is in CONSENSUS.",
        "You seem FOCUSED today.",
        "I am at 0.72 today.",
        "I am at .72 today.",
        "I am 72 % sure.",
        "I am 72 percent sure.",
        "I am 100% sure.",
    ],
)
def test_raw_metrics_are_found(response: str) -> None:
    assert raw_metrics(response, STATE)


@pytest.mark.parametrize(
    "response",
    [
        "You can trust your doctor, so verify the dose and stay within the bounds of the plan.",
        "The patient is 72 years old and weighs 72 kg.",
        "It costs 10.72 in all, or 0.725 a unit.",
        "I am 73 % sure.",
        "Please stay calm and focused; the decision is yours.",
        "",
    ],
)
def test_friendly_words_are_not_raw_metrics(response: str) -> None:
    assert raw_metrics(response, STATE) == []


def test_numbers_count_only_against_the_requests_own_readings() -> None:
    assert raw_metrics("I am at 0.72 today.", None) == []
    assert raw_metrics("I am at 0.72 today.", GovernanceState.of(trust=0.3)) == []
