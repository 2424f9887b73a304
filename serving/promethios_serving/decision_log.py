"""One line of JSON in the log, and the metrics, for each decision. No word of the conversation is in it."""

from __future__ import annotations

import json
import logging
from typing import Final

from promethios_serving import metrics
from promethios_serving.request_context import GovernedRequest

LOGGER: Final = logging.getLogger("promethios")
_decisions: Final = logging.getLogger("promethios.decisions")


def show_log() -> None:
    """Send the wrapper's log to stderr; vLLM configures its own loggers only. Idempotent."""
    if LOGGER.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


def record_decision(request: GovernedRequest, *, weights_sha256: str, gate_seconds: float, scrubbed_ids: int) -> None:
    """Count and log a decided request."""
    outcome = request.outcome
    if outcome is None or not request.counted:
        return
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
    line = {
        "id": request.id,
        "route": request.route,
        "domain": request.domain,
        "decision": outcome.decision,
        "probability": outcome.probability,
        "threshold": outcome.threshold,
        "degraded": outcome.degraded,
        "forced": outcome.forced,
        "key": request.caller.key_id,
        "tenant": request.caller.tenant,
        "gate_ms": round(gate_seconds * 1000, 1),
        "scrubbed_ids": scrubbed_ids,
        "weights": weights_sha256[:12],
    }
    _decisions.info("%s", json.dumps(line))
