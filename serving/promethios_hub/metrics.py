"""The hub's Prometheus metrics. README.md explains each; a test keeps that table and this module equal."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REVIEWS = Counter("promethios_hub_reviews_total", "Reviews that arrived.", ["domain", "reason"])
OPEN_REVIEWS = Gauge("promethios_hub_reviews_open", "Reviews that are not settled.", ["state"])
OLDEST_WAITING = Gauge("promethios_hub_oldest_waiting_seconds", "Age of the oldest review that is not settled.")
REVIEW_SECONDS = Histogram(
    "promethios_hub_review_seconds",
    "Time from a review's arrival to its decision.",
    buckets=[10, 30, 60, 300, 900, 1800, 3600, 4 * 3600, 8 * 3600, 24 * 3600, 72 * 3600],
)
DECISIONS = Counter("promethios_hub_decisions_total", "Reviews settled, by the reviewer's action.", ["action"])
WEBHOOK_FAILURES = Counter("promethios_hub_webhook_failures_total", "Deliveries to the webhook that will be repeated.")
TELEMETRY_WRITES = Counter("promethios_hub_telemetry_writes_total", "Readings taken in.")
FORGOTTEN_REVIEWS = Counter("promethios_hub_forgotten_reviews_total", "Reviews whose content was removed.")
REQUEST_SECONDS = Histogram(
    "promethios_hub_http_request_seconds",
    "Time to answer a request, by the route's pattern.",
    ["route", "method", "status"],
    buckets=[0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 30],
)
DATABASE_ERRORS = Counter("promethios_hub_database_errors_total", "Requests refused since the database was away.")
