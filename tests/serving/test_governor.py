from __future__ import annotations

import math
from dataclasses import replace

import pytest

from promethios.telemetry.header import HeaderDomain
from promethios.telemetry.state import GovernanceState
from promethios_serving.governor import Governor
from promethios_serving.request_context import GovernedRequest
from promethios_serving.telemetry.subject import EVERYBODY, Subject

FRESH = GovernanceState.of(trust=0.9, verify=0.9, attest=0.9, bound=0.9)
REST = [0.0] * 14


class Live:
    """A telemetry source with a fixed state."""

    name, error = "fixed", None

    def __init__(self, state: GovernanceState | None) -> None:
        self._state = state

    def state(self, subject: Subject = EVERYBODY) -> GovernanceState | None:
        return self._state

    async def refresh(self) -> None:
        raise AssertionError("no request waits for a refresh")


def escalation_logit(probability: float) -> list[float]:
    """Scores whose softmax gives escalation this probability, the rest to `answer`."""
    return [0.0, -60.0, -60.0, math.log(probability / (1 - probability)), *REST]


def test_the_caller_s_channels_win_and_the_live_ones_fill_the_rest(governor: Governor) -> None:
    governor.source = Live(GovernanceState.of(trust=0.9, emotion="CALM"))
    request = GovernedRequest(route="r", telemetry=GovernanceState.of(trust=0.1))
    assert governor.state(request) == GovernanceState.of(trust=0.1, emotion="CALM")


def test_without_any_telemetry_there_is_no_state(governor: Governor) -> None:
    assert governor.state(GovernedRequest(route="r")) is None


def test_the_header_holds_state_and_domain(governor: Governor) -> None:
    request = GovernedRequest(route="r", domain="healthcare")
    assert governor.header(request, FRESH) == governor.reserved.header(FRESH, HeaderDomain(0, 0.75))


@pytest.mark.parametrize(
    ("probability", "domain", "state", "decision"),
    [
        (0.39, None, FRESH, "answer"),
        (0.41, None, FRESH, "escalate"),
        (0.25, "healthcare", FRESH, "escalate"),
        (0.11, "legal", FRESH, "escalate"),
        (0.09, "legal", FRESH, "answer"),
        (0.06, "legal", None, "escalate"),
        (0.25, None, None, "escalate"),
        (0.19, None, None, "caveat"),
    ],
)
def test_a_decision_depends_on_domain_and_telemetry(
    governor: Governor, probability: float, domain: str | None, state: GovernanceState | None, decision: str
) -> None:
    outcome = governor.decide(GovernedRequest(route="r", domain=domain), state, escalation_logit(probability))
    assert outcome.decision == decision
    assert outcome.probability == pytest.approx(probability)
    assert (outcome.decision == "escalate") == (outcome.probability >= outcome.threshold)
    assert outcome.degraded == (state is None)
    assert outcome.degraded_channels == (state or GovernanceState()).degraded_channels()


@pytest.mark.parametrize(("sureness", "named"), [(3.0, "legal"), (0.0, None)])
def test_the_probe_names_a_domain_that_it_is_sure_of(governor: Governor, sureness: float, named: str | None) -> None:
    governor.calibration = replace(governor.calibration, domain_probe_level=0.6)
    assert len(governor.domain_columns()) == len(set(governor.domain_columns().values()))
    request = GovernedRequest(route="r")
    governor.name_domain(request, {**dict.fromkeys(governor.domain_columns(), 0.0), "legal": sureness})
    assert (request.domain, request.domain_source) == (named, "probe" if named else None)


def test_an_unknown_domain_gets_the_most_careful_certified_threshold(governor: Governor) -> None:
    governor.certificate = replace(governor.certificate, default_threshold=0.05)
    outcome = governor.decide(GovernedRequest(route="r"), FRESH, escalation_logit(0.06))
    assert (outcome.decision, outcome.threshold) == ("escalate", 0.05)


def test_where_nothing_is_certified_everything_escalates(governor: Governor) -> None:
    governor.certificate = replace(governor.certificate, default_threshold=0.0)
    assert governor.decide(GovernedRequest(route="r"), FRESH, escalation_logit(1e-6)).decision == "escalate"


def test_a_request_without_scores_is_escalated_without_a_probability(governor: Governor) -> None:
    outcome = governor.escalate_blindly(GovernedRequest(route="r"), FRESH)
    assert (outcome.decision, outcome.probability) == ("escalate", None)
