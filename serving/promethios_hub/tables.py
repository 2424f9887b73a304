"""The hub's tables, for PostgreSQL and SQLite alike. The migrations lead here; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects.postgresql import JSONB

METADATA: Final = MetaData()
Json: Final = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
Serial: Final = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows by itself only in a column of the type INTEGER."""


class Instant(TypeDecorator[datetime]):
    """A time in UTC; SQLite forgets the zone, so it is put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return UTC."""
        if value is None:
            return None
        instant: datetime = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return instant


def _where(condition: ColumnElement[bool]) -> dict[str, Any]:
    """Return the options of an index over some rows only."""
    return {"postgresql_where": condition, "sqlite_where": condition}


reviews: Final = Table(
    "reviews",
    METADATA,
    Column("number", Serial, primary_key=True, autoincrement=True, comment="order of arrival"),
    Column("id", String(80), nullable=False, unique=True, comment="of the decision: gov-..."),
    Column("arrived_at", Instant, nullable=False),
    Column("asked_at", Instant, nullable=False, comment="when the model decided"),
    Column("tenant", String(64)),
    Column("subject", Json, nullable=False),
    Column("request_id", String(200)),
    Column("engine", String(200)),
    Column("model", Json, nullable=False),
    Column("domain", String(64)),
    Column("reviewed_because", String(16), nullable=False),
    Column("propensity", Float),
    Column("decision", String(16), nullable=False),
    Column("probability", Float, nullable=False),
    Column("threshold", Float, nullable=False),
    Column("probabilities", Json, nullable=False),
    Column("uncertainty", Json, nullable=False),
    Column("principles", Json, comment="which of them fired; null where the model does not tell"),
    Column("governance_state", Json),
    Column("experiment", Json),
    Column("messages", Json, nullable=False),
    Column("response", Text, comment="what the model said; null until the answer is complete"),
    Column("question", Text, nullable=False, comment="the user's last message, for search"),
    Column("state", String(16), nullable=False, comment="waiting, assigned or done"),
    Column("version", Integer, nullable=False, comment="one more with each change by a reviewer"),
    Column("reviewer", String(64)),
    Column("assigned_at", Instant),
    Column("action", String(16)),
    Column("final_decision", String(16)),
    Column("final_response", Text),
    Column("decided_at", Instant),
    Column("forgotten", Boolean, nullable=False, comment="its content was removed after the retention time"),
    Index("reviews_by_state", "state", "number"),
    Index("reviews_by_state_and_domain", "state", "domain", "number"),
    Index("reviews_by_arrival", "arrived_at"),
    Index("reviews_by_decision_time", "decided_at"),
)
# The open ones are few among all that ever were; counting them must not read the rest.
Index("open_reviews", reviews.c.state, reviews.c.arrived_at, reviews.c.domain, **_where(reviews.c.state != "done"))
Index(
    "settled_reviews",
    *(reviews.c.decided_at, reviews.c.decision, reviews.c.action, reviews.c.arrived_at),
    **_where(reviews.c.state == "done"),
)

webhook_deliveries: Final = Table(
    "webhook_deliveries",
    METADATA,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("review_id", String(80), nullable=False, unique=True),
    Column("payload", Json, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Instant, nullable=False),
    Column("error", Text),
    Index("webhook_deliveries_by_time", "next_attempt_at"),
)
"""What is still to be told to the webhook: written with the decision, in one transaction; removed once delivered."""

telemetry: Final = Table(
    "telemetry",
    METADATA,
    Column("tenant", String(64), nullable=False),
    Column("agent", String(128), nullable=False),
    Column("session", String(128), nullable=False),
    Column("channel", String(32), nullable=False),
    Column("value", Json, nullable=False),
    Column("at", Instant, nullable=False, comment="when it was measured"),
    Column("changed", BigInteger, nullable=False, comment="engines ask for what has a higher number than they know"),
    PrimaryKeyConstraint("tenant", "agent", "session", "channel"),
    Index("telemetry_by_change", "changed"),
)
"""The newest reading of each channel of each subject; the empty text stands for any tenant, agent or session."""

experiments: Final = Table(
    "experiments",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("description", Text, nullable=False),
    Column("control", String(64), nullable=False),
    Column("arms", Json, nullable=False),
    Column("alpha", Float, nullable=False, comment="one minus the level of its confidence sequences"),
    Column("created_at", Instant, nullable=False),
    Column("stopped_at", Instant),
)

outcomes: Final = Table(
    "outcomes",
    METADATA,
    Column("id", String(80), nullable=False, comment="of the decision"),
    Column("arm", String(64), nullable=False),
    Column("experiment", String(64), nullable=False),
    Column("unit", String(64), nullable=False, comment="hash of tenant and session"),
    Column("tenant", String(64), comment="who may say whether the answer resolved the matter"),
    Column("shadow", Boolean, nullable=False),
    Column("time", Instant, nullable=False),
    Column("decision", String(16)),
    Column("resolved", Boolean, comment="what the caller said; null until then"),
    Column("latency_s", Float),
    Column("first_token_s", Float),
    Column("prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("cost_usd", Float),
    Column("error", Text),
    PrimaryKeyConstraint("id", "arm"),
    Index("outcomes_by_experiment", "experiment", "arm", "unit"),
)
