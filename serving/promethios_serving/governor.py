"""From scores to a decision: telemetry, domain, calibration, certificate and the one decision function, for a model."""

from __future__ import annotations

from collections.abc import Sequence

from promethios.evaluation.calibration import Calibration
from promethios.evaluation.certificate import Certificate, deployed_threshold
from promethios.ontology.decision import DEGRADED_THRESHOLD_FACTOR, ESCALATE, decide
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.header import DECISIONS, ReservedIds
from promethios.telemetry.state import GovernanceState
from promethios_serving.request_context import GovernedRequest, Outcome
from promethios_serving.telemetry_source import TelemetrySource


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
        live, own = self.source.state(), request.telemetry
        if live is None or own is None:
            return live if own is None else own
        readings = {channel.name: reading for channel, reading in live if reading is not None}
        readings |= {channel.name: reading for channel, reading in own if reading is not None}
        return GovernanceState(**readings)

    def header(self, request: GovernedRequest, state: GovernanceState | None) -> list[int]:
        """Return the header ids of a request."""
        domain = load_ontology().domain(request.domain).header if request.domain else None
        return self.reserved.header(state, domain)

    def decide(self, request: GovernedRequest, state: GovernanceState | None, scores: Sequence[float]) -> Outcome:
        """Decide a request on the model's raw scores (SCORE_NAMES order).

        A tenant's minimum decision makes it more careful, in the order of DECISIONS, and never less.
        """
        degraded = _is_degraded(state)
        probabilities = self.calibration.probabilities(scores, request.domain)
        threshold = deployed_threshold(self.calibration, self.certificate, request.domain)
        decision = decide(probabilities, threshold, degraded=degraded)
        minimum = request.caller.policy.minimum_decision
        forced = minimum is not None and DECISIONS.index(decision) < DECISIONS.index(minimum)
        return Outcome(
            decision=minimum if minimum is not None and forced else decision,
            forced=forced,
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
