"""The decision of wrapped mode: two threshold rules on the telemetry, and what a self-check adds to them.

An upstream model has no scores and no calibration, so a rule's "escalate" counts as probability 1 and its silence as 0,
as in the evaluation's reports. A self-check can make the decision more careful, never less: what a client writes may
talk a language model round, but not the telemetry.
"""

from __future__ import annotations

from promethios.ontology.decision import DEGRADED_THRESHOLD_FACTOR, decide, more_careful
from promethios.ontology.governance_ontology import load_ontology
from promethios.ontology.telemetry_rules import minimum_margin, trust_margin
from promethios.telemetry.header import DECISIONS
from promethios.telemetry.state import GovernanceState
from promethios_serving.request_context import Outcome
from promethios_serving.wrapped.self_check import Verdict


def decide_on_telemetry(
    domain: str | None, state: GovernanceState | None, verdict: Verdict | None = None, minimum: str | None = None
) -> Outcome:
    """Decide a request. minimum: the least careful decision that its tenant allows.

    escalate: trust below what the domain requires, or a competence channel below 0.4, however old the reading; or a
    verdict of that kind. Otherwise the verdict's decision, `answer` without one, and never less than a caveat when the
    telemetry is degraded. Raises ConfigError for an unknown domain.
    """
    degraded = state is None or state.is_degraded()
    margins = (trust_margin(state, domain), minimum_margin(state))
    escalation = float(any(margin is not None and margin < 0 for margin in margins))
    said = "answer"
    if verdict is not None:
        said = verdict.decision
        escalation = max(escalation, verdict.escalation_probability)
    threshold = load_ontology().domain(domain or "general").escalation_threshold
    probabilities = [0.0] * len(DECISIONS)
    probabilities[DECISIONS.index(said)] = 1.0 - escalation
    probabilities[DECISIONS.index("escalate")] = escalation
    own = decide(probabilities, threshold, degraded=degraded)
    decision = more_careful(own, minimum)
    return Outcome(
        decision=decision,
        forced=decision != own,
        probability=escalation,
        threshold=threshold * DEGRADED_THRESHOLD_FACTOR if degraded else threshold,
        degraded=degraded,
        degraded_channels=(state or GovernanceState()).degraded_channels(),
        probabilities=tuple(probabilities),
        certified=False,
    )
