from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promethios.telemetry.header import DECISIONS
from promethios.telemetry.state import COMPETENCE_CHANNELS, GovernanceState, Reading
from promethios_serving.wrapped.self_check import Verdict
from promethios_serving.wrapped.telemetry_policy import decide_on_telemetry

GOOD = dict.fromkeys(COMPETENCE_CHANNELS, 0.9)


def state(age_s: float = 0.0, **values: float) -> GovernanceState:
    return GovernanceState(**{name: Reading(value, age_s) for name, value in {**GOOD, **values}.items()})


@pytest.mark.parametrize(
    ("domain", "telemetry", "decision"),
    [
        (None, state(), "answer"),
        (None, state(trust=0.5), "answer"),
        (None, state(trust=0.49), "escalate"),
        ("healthcare", state(trust=0.74), "escalate"),
        ("healthcare", state(trust=0.75), "answer"),
        (None, state(bound=0.39), "escalate"),
        (None, state(age_s=10_000), "caveat"),
        (None, state(age_s=10_000, trust=0.3), "escalate"),
        (None, None, "caveat"),
        ("legal", GovernanceState.of(trust=0.9), "caveat"),
        ("legal", GovernanceState.of(emotion="CALM"), "caveat"),
    ],
)
def test_the_rules_decide(domain: str | None, telemetry: GovernanceState | None, decision: str) -> None:
    outcome = decide_on_telemetry(domain, telemetry)
    assert outcome.decision == decision
    assert outcome.probability == float(decision == "escalate")
    assert outcome.certified is False


def test_the_threshold_is_the_domains_and_halved_when_degraded() -> None:
    assert decide_on_telemetry("legal", state()).threshold == 0.4
    assert decide_on_telemetry("legal", None).threshold == 0.2


def test_a_tenants_minimum_makes_a_decision_more_careful_and_says_so() -> None:
    forced = decide_on_telemetry(None, state(), minimum="clarify")
    assert (forced.decision, forced.forced) == ("clarify", True)
    own = decide_on_telemetry(None, state(trust=0.1), minimum="clarify")
    assert (own.decision, own.forced) == ("escalate", False)


verdicts = st.builds(Verdict, st.sampled_from(DECISIONS[:3]), st.floats(0, 1)) | st.just(Verdict("escalate", 1.0))
readings = st.none() | st.builds(Reading, st.floats(0, 1), st.floats(0, 1e5))
states = st.none() | st.builds(GovernanceState, **dict.fromkeys(COMPETENCE_CHANNELS, readings))


@given(states, verdicts, st.sampled_from([None, "healthcare", "general"]))
def test_a_verdict_never_makes_a_decision_less_careful(
    telemetry: GovernanceState | None, verdict: Verdict, domain: str | None
) -> None:
    without = DECISIONS.index(decide_on_telemetry(domain, telemetry).decision)
    assert DECISIONS.index(decide_on_telemetry(domain, telemetry, verdict).decision) >= without


@given(states, st.floats(0, 1e5), st.sampled_from([None, "healthcare"]))
def test_older_telemetry_is_never_treated_less_carefully(
    telemetry: GovernanceState | None, seconds: float, domain: str | None
) -> None:
    now = DECISIONS.index(decide_on_telemetry(domain, telemetry).decision)
    later = telemetry.aged(seconds) if telemetry else None
    assert DECISIONS.index(decide_on_telemetry(domain, later).decision) >= now
