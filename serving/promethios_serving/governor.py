"""From scores to a decision: telemetry, domain, calibration, certificate and the one decision function, for a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from promethios.evaluation.calibration import Calibration
from promethios.evaluation.certificate import Certificate, deployed_threshold
from promethios.ontology.decision import DEGRADED_THRESHOLD_FACTOR, ESCALATE, decide, more_careful
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.header import ReservedIds
from promethios.telemetry.state import GovernanceState
from promethios_serving.request_context import GovernedRequest, Outcome
from promethios_serving.telemetry.request_state import governance_state
from promethios_serving.telemetry.source import TelemetrySource


class Governor:
    """Decides requests with one model's calibration and certificate and the live telemetry."""

    def __init__(
        self, calibration: Calibration, certificate: Certificate, source: TelemetrySource, reserved: ReservedIds
    ) -> None:
        self.calibration = calibration
        self.certificate = certificate
        self.source = source
        self.reserved = reserved

    def state(self, request: GovernedRequest) -> GovernanceState | None:
        """Return the telemetry of a request: the caller's own channels first, the live ones for the rest."""
        return governance_state(request, self.source)

    def header(self, request: GovernedRequest, state: GovernanceState | None) -> list[int]:
        """Return the header ids of a request."""
        domain = load_ontology().domain(request.domain).header if request.domain else None
        return self.reserved.header(state, domain)

    @property
    def probes_domains(self) -> bool:
        """Whether the model has a domain probe that is believed from some probability on."""
        return self.calibration.domain_probe_level is not None

    def domain_columns(self) -> dict[str, int]:
        """Return the vocabulary column in which the probe speaks of each domain of the ontology."""
        columns = self.reserved.domain_ids
        return {domain.name: columns[domain.slot] for domain in load_ontology().domains.values()}

    def name_domain(self, request: GovernedRequest, logits: Mapping[str, float]) -> None:
        """Give a request that names no domain the one that the probe is sure of, if any. logits: of each domain."""
        request.domain = self.calibration.probed_domain(logits)
        request.domain_source = None if request.domain is None else "probe"

    def decide(self, request: GovernedRequest, state: GovernanceState | None, scores: Sequence[float]) -> Outcome:
        """Decide a request on the model's raw scores (SCORE_NAMES order).

        A tenant's minimum decision makes it more careful, in the order of DECISIONS, and never less.
        """
        degraded = _is_degraded(state)
        probabilities = self.calibration.probabilities(scores, request.domain)
        threshold = deployed_threshold(self.calibration, self.certificate, request.domain)
        own = decide(probabilities, threshold, degraded=degraded)
        decision = more_careful(own, request.caller.policy.minimum_decision)
        return Outcome(
            decision=decision,
            forced=decision != own,
            probability=probabilities[ESCALATE],
            threshold=threshold * DEGRADED_THRESHOLD_FACTOR if degraded else threshold,
            degraded=degraded,
            scores=tuple(scores),
            probabilities=tuple(probabilities),
        )

    def escalate_blindly(self, request: GovernedRequest, state: GovernanceState | None) -> Outcome:
        """Escalate a request whose scores could not be computed."""
        threshold = deployed_threshold(self.calibration, self.certificate, request.domain)
        return Outcome(decision="escalate", probability=None, threshold=threshold, degraded=_is_degraded(state))


def _is_degraded(state: GovernanceState | None) -> bool:
    return state is None or state.is_degraded()
