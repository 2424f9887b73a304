"""The wrapper's Prometheus metrics, on the registry that vLLM's /metrics shows.

serving/README.md explains each; a test keeps that table and this module equal. Imported by the API server only, so
that engine processes do not report empty copies. The gauge names its multi-process mode for `--api-server-count` > 1.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

DECISIONS = Counter("promethios_decisions_total", "Governed requests by decision.", ["decision", "domain"])
ESCALATION_PROBABILITY = Histogram(
    "promethios_escalation_probability",
    "Calibrated probability of escalation.",
    ["domain"],
    buckets=[step / 20 for step in range(1, 21)],
)
DEGRADED_REQUESTS = Counter(
    "promethios_degraded_requests_total", "Requests decided with absent or stale telemetry.", ["domain"]
)
GATE_SECONDS = Histogram(
    "promethios_gate_seconds",
    "Time from the request's arrival at the engine to its decision.",
    buckets=[0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30],
)
GATE_FAILURES = Counter("promethios_gate_failures_total", "Requests whose gate could not be computed.")
REFUSED_REQUESTS = Counter("promethios_refused_requests_total", "Requests refused by the wrapper.", ["reason"])
SCRUBBED_IDS = Counter("promethios_scrubbed_ids_total", "Reserved token ids removed from client input.", ["route"])
REDACTED_TAGS = Counter("promethios_redacted_tags_total", "Governance tags removed from generated text.")
UNAUTHORIZED_REQUESTS = Counter(
    "promethios_unauthorized_requests_total", "Requests without a valid key, or whose key may not do this.", ["reason"]
)
RATE_LIMITED_REQUESTS = Counter(
    "promethios_rate_limited_requests_total", "Requests refused above a tenant's quota.", ["tenant", "limit"]
)
FORCED_DECISIONS = Counter(
    "promethios_forced_decisions_total",
    "Decisions made more careful than the model's by the tenant's policy.",
    ["decision", "tenant"],
)
AUDIT_RECORDS = Counter("promethios_audit_records_total", "Decisions written to the audit log.")
IN_FLIGHT = Gauge("promethios_requests_in_flight", "Requests that are being answered.", multiprocess_mode="livesum")
DRAINING = Gauge("promethios_draining", "1 while the server drains.", multiprocess_mode="livemax")
PROBED_DOMAINS = Counter(
    "promethios_probed_domains_total", "Requests without a domain by what the model's probe named.", ["domain"]
)
SELF_QUESTIONS = Counter("promethios_self_questions_total", "Hidden rounds in which the model asked itself.")
TELEMETRY_AGE = Gauge(
    "promethios_telemetry_age_seconds",
    "Age of the live reading; +Inf when the channel is missing.",
    ["channel"],
    multiprocess_mode="mostrecent",
)
TELEMETRY_ERRORS = Counter(
    "promethios_telemetry_errors_total",
    "Telemetry that could not be read; the last good state keeps ageing.",
    ["source"],
)
SHADOW_REQUESTS = Counter(
    "promethios_shadow_requests_total", "Requests repeated at a shadow arm of an experiment.", ["arm", "result"]
)
TELEMETRY_FORGED = Counter("promethios_telemetry_forged_total", "Signed telemetry that was refused.", ["reason"])
REVIEWS_SPOOLED = Gauge(
    "promethios_reviews_spooled", "Documents on disk that wait for the hub.", multiprocess_mode="livesum"
)
REVIEWS_SENT = Counter("promethios_reviews_sent_total", "Documents that the hub has taken.", ["kind"])
HUB_ERRORS = Counter(
    "promethios_hub_errors_total", "Documents or batches that did not reach the hub or the spool.", ["reason"]
)
