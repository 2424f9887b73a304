"""From scores to a decision: telemetry, domain, calibration, certificate and the one decision function, for a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from promethios.evaluation.calibration import Calibration
from promethios.evaluation.certificate import Certificate, deployed_threshold
from promethios.ontology.decision import DEGRADED_THRESHOLD_FACTOR, ESCALATE, decide, more_careful
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.header import ReservedIds
from promethios.telemetry.state import GovernanceState
from promethios_serving.request_context import GovernedRequest, Outcome
from promethios_serving.telemetry.request_state import governance_state
from promethios_serving.telemetry.source import TelemetrySource

_NEVER_WRITTEN: Final = -1.0
"""Below it a column holds no share, but stands at UNREACHABLE. A share of 0 may be read as -0.00001: fp32 near -100."""


class Governor:
    """Decides requests with one model's calibration and certificate and the live telemetry."""

    def __init__(
        self,
        calibration: Calibration,
        certificate: Certificate,
        source: TelemetrySource,
        reserved: ReservedIds,
        principles: Mapping[str, int] | None = None,
    ) -> None:
        """`principles`: PromethiosConfig.shown_principles of the model; empty where nobody is to see which fired."""
        self.calibration = calibration
        self.certificate = certificate
        self.source = source
        self.reserved = reserved
        self.principle_columns = {name: reserved.value_ids[slot] for name, slot in (principles or {}).items()}
        """Vocabulary column that carries the share of each constitutional principle, by the principle's id."""

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

    @property
    def gate_columns(self) -> tuple[int, ...]:
        """Vocabulary columns that the gate reads: the reference, the scores, the principles."""
        return (*self.reserved.score_ids, *self.principle_columns.values())

    def name_domain(self, request: GovernedRequest, logits: Mapping[str, float]) -> None:
        """Give a request that names no domain the one that the probe is sure of, if any. logits: of each domain."""
        request.domain = self.calibration.probed_domain(logits)
        request.domain_source = None if request.domain is None else "probe"

    def fired(self, shares: Sequence[float]) -> dict[str, float] | None:
        """Return the principles' shares, the largest first, from what their columns say.

        None for a model that writes none: without anchors, or with its last one on an early pipeline stage.
        """
        if not shares or min(shares) < _NEVER_WRITTEN:
            return None
        found = {name: min(1.0, max(0.0, share)) for name, share in zip(self.principle_columns, shares, strict=True)}
        return dict(sorted(found.items(), key=lambda share: -share[1]))

    def decide(
        self,
        request: GovernedRequest,
        state: GovernanceState | None,
        scores: Sequence[float],
        fired: Mapping[str, float] | None = None,
    ) -> Outcome:
        """Decide a request on the model's raw scores (SCORE_NAMES order); `fired` is only passed on.

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
            degraded_channels=_degraded_channels(state),
            scores=tuple(scores),
            probabilities=tuple(probabilities),
            principles=fired,
        )

    def escalate_blindly(self, request: GovernedRequest, state: GovernanceState | None) -> Outcome:
        """Escalate a request whose scores could not be computed."""
        threshold = deployed_threshold(self.calibration, self.certificate, request.domain)
        return Outcome(
            decision="escalate",
            probability=None,
            threshold=threshold,
            degraded=_is_degraded(state),
            degraded_channels=_degraded_channels(state),
        )


def _is_degraded(state: GovernanceState | None) -> bool:
    return state is None or state.is_degraded()


def _degraded_channels(state: GovernanceState | None) -> tuple[str, ...]:
    return (state or GovernanceState()).degraded_channels()
