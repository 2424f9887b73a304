"""A decision on record: in the audit log, the metrics and one line of the log. No word of the conversation is in it."""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict
from http import HTTPStatus
from typing import Final

from promethios.telemetry.state import GovernanceState
from promethios_serving import metrics
from promethios_serving.audit.audit_log import AuditLog, AuditLogBroken
from promethios_serving.audit.decision_record import decision_record
from promethios_serving.json_log import JsonLines
from promethios_serving.openai_errors import RequestRefused
from promethios_serving.request_context import GovernedRequest, Outcome
from promethios_serving.reviews.review_record import DecidingModel

LOGGER: Final = logging.getLogger("promethios")
_log: Final = logging.getLogger("promethios.audit")
_decisions: Final = logging.getLogger("promethios.decisions")


def show_log() -> None:
    """Send the wrapper's log to stderr; vLLM configures its own loggers (`vllm_logging.json`). Idempotent.

    JSON for whatever collects it; plain lines for the person at a terminal.
    """
    if LOGGER.handlers:
        return
    handler = logging.StreamHandler()
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler.setFormatter(plain if sys.stderr.isatty() else JsonLines())
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


def record_decision(
    request: GovernedRequest,
    state: GovernanceState | None,
    *,
    model: DecidingModel,
    gate_seconds: float,
    scrubbed_ids: int,
    audit: AuditLog | None = None,
) -> None:
    """Audit, count and log a decided request. Raises RequestRefused (503) when the audit log does not take it."""
    outcome = request.outcome
    if outcome is None or not request.counted:
        return
    proof = None if audit is None else _audited(audit, request, outcome, state, model)
    _count(request, outcome, gate_seconds, scrubbed_ids)
    fields = {
        "id": request.id,
        "request_id": request.client_request_id,
        "route": request.route,
        "domain": request.domain,
        "domain_source": request.domain_source,
        "decision": outcome.decision,
        "probability": outcome.probability,
        "threshold": outcome.threshold,
        "degraded": outcome.degraded,
        "forced": outcome.forced,
        "key": request.caller.key_id,
        "tenant": request.caller.tenant,
        "gate_ms": round(gate_seconds * 1000, 1),
        "scrubbed_ids": scrubbed_ids,
        "weights": (model.weights_sha256 or model.name)[:12],
        "audit": proof,
    }
    _decisions.info("%s: %s", request.id, outcome.decision, extra={"fields": fields})


def _audited(
    audit: AuditLog,
    request: GovernedRequest,
    outcome: Outcome,
    state: GovernanceState | None,
    model: DecidingModel,
) -> str:
    try:
        proof = audit.append(decision_record(request, outcome, state, asdict(model)))
    except AuditLogBroken as error:
        _log.error("%s is refused, its decision cannot be recorded: %s", request.id, error)
        message = "the decision on this request cannot be recorded, so it gets no answer; try again later"
        raise RequestRefused(HTTPStatus.SERVICE_UNAVAILABLE, "audit_unavailable", message) from None
    metrics.AUDIT_RECORDS.inc()
    return proof


def _count(request: GovernedRequest, outcome: Outcome, gate_seconds: float, scrubbed_ids: int) -> None:
    domain = request.domain or "none"
    metrics.DECISIONS.labels(decision=outcome.decision, domain=domain).inc()
    metrics.GATE_SECONDS.observe(gate_seconds)
    if outcome.probability is not None:
        metrics.ESCALATION_PROBABILITY.labels(domain=domain).observe(outcome.probability)
    if outcome.forced:
        metrics.FORCED_DECISIONS.labels(decision=outcome.decision, tenant=request.caller.tenant).inc()
    if outcome.degraded:
        metrics.DEGRADED_REQUESTS.labels(domain=domain).inc()
    if scrubbed_ids:
        metrics.SCRUBBED_IDS.labels(route=request.route).inc(scrubbed_ids)
