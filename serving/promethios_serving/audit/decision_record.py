"""What the audit log says about a decision: who asked, what the model was told, what it said and what came of it.

No word of the conversation is in it. With the scores, the calibration and the certificate of the named model, anybody
can compute the decision again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from promethios.telemetry import tags
from promethios.telemetry.state import GovernanceState
from promethios_serving.request_context import GovernedRequest, Outcome


def decision_record(
    request: GovernedRequest, outcome: Outcome, state: GovernanceState | None, model: Mapping[str, str | None]
) -> dict[str, Any]:
    """Return the record of a decision. model: name, weights_sha256 and certificate_sha256 of the model that decided."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "id": request.id,
        "request_id": request.client_request_id,
        "key": request.caller.key_id,
        **request.subject.to_mapping(),
        "route": request.route,
        "domain": request.domain,
        "domain_source": request.domain_source,
        "telemetry": tags.render(state) if state is not None else "",
        "degraded": outcome.degraded,
        "scores": outcome.scores,
        "probabilities": outcome.probabilities,
        "probability": outcome.probability,
        "threshold": outcome.threshold,
        "decision": outcome.decision,
        "forced_by": _forced_by(outcome),
        "model": model,
    }


def _forced_by(outcome: Outcome) -> str | None:
    """Say what decided instead of the model: a gate that failed, or the tenant's policy."""
    if outcome.probability is None:
        return "gate_failure"
    return "minimum_decision" if outcome.forced else None
