"""The first tables: reviews with their search index, webhook deliveries, telemetry, experiments and outcomes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

_JSON = sa.JSON().with_variant(JSONB(), "postgresql")
_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_INSTANT = sa.DateTime(timezone=True)
_SEARCH = {
    "postgresql": [
        "CREATE INDEX reviews_by_question ON reviews USING gin (to_tsvector('simple', question))",
    ],
    # An index beside the table: triggers keep it equal, and it holds no second copy of the questions.
    "sqlite": [
        "CREATE VIRTUAL TABLE review_questions USING fts5(question, content='reviews', content_rowid='number')",
        "CREATE TRIGGER review_arrives AFTER INSERT ON reviews BEGIN"
        " INSERT INTO review_questions(rowid, question) VALUES (new.number, new.question); END",
        "CREATE TRIGGER review_changes AFTER UPDATE OF question ON reviews BEGIN"
        " INSERT INTO review_questions(review_questions, rowid, question) VALUES ('delete', old.number, old.question);"
        " INSERT INTO review_questions(rowid, question) VALUES (new.number, new.question); END",
    ],
}


def upgrade() -> None:
    """Bring the tables to this version."""
    _reviews()
    op.create_table(
        "webhook_deliveries",
        sa.Column("number", _SERIAL, primary_key=True, autoincrement=True),
        sa.Column("review_id", sa.String(80), nullable=False, unique=True),
        sa.Column("payload", _JSON, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", _INSTANT, nullable=False),
        sa.Column("error", sa.Text),
    )
    op.create_index("webhook_deliveries_by_time", "webhook_deliveries", ["next_attempt_at"])
    op.create_table(
        "telemetry",
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("agent", sa.String(128), nullable=False),
        sa.Column("session", sa.String(128), nullable=False),
        sa.Column("channel", sa.String(32), nullable=False),
        sa.Column("value", _JSON, nullable=False),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "agent", "session", "channel"),
    )
    op.create_index("telemetry_by_change", "telemetry", ["changed"])
    op.create_table(
        "experiments",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("control", sa.String(64), nullable=False),
        sa.Column("arms", _JSON, nullable=False),
        sa.Column("alpha", sa.Float, nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("stopped_at", _INSTANT),
    )
    op.create_table(
        "outcomes",
        sa.Column("id", sa.String(80), nullable=False),
        sa.Column("arm", sa.String(64), nullable=False),
        sa.Column("experiment", sa.String(64), nullable=False),
        sa.Column("unit", sa.String(64), nullable=False),
        sa.Column("shadow", sa.Boolean, nullable=False),
        sa.Column("time", _INSTANT, nullable=False),
        sa.Column("decision", sa.String(16)),
        sa.Column("resolved", sa.Boolean),
        sa.Column("latency_s", sa.Float),
        sa.Column("first_token_s", sa.Float),
        sa.Column("prompt_tokens", sa.Integer),
        sa.Column("completion_tokens", sa.Integer),
        sa.Column("cost_usd", sa.Float),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("id", "arm"),
    )
    op.create_index("outcomes_by_experiment", "outcomes", ["experiment", "arm", "unit"])


def _reviews() -> None:
    op.create_table(
        "reviews",
        sa.Column("number", _SERIAL, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(80), nullable=False, unique=True),
        sa.Column("arrived_at", _INSTANT, nullable=False),
        sa.Column("asked_at", _INSTANT, nullable=False),
        sa.Column("tenant", sa.String(64)),
        sa.Column("subject", _JSON, nullable=False),
        sa.Column("request_id", sa.String(200)),
        sa.Column("engine", sa.String(200)),
        sa.Column("model", _JSON, nullable=False),
        sa.Column("domain", sa.String(64)),
        sa.Column("reviewed_because", sa.String(16), nullable=False),
        sa.Column("propensity", sa.Float),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("probability", sa.Float, nullable=False),
        sa.Column("threshold", sa.Float, nullable=False),
        sa.Column("probabilities", _JSON, nullable=False),
        sa.Column("uncertainty", _JSON, nullable=False),
        sa.Column("governance_state", _JSON),
        sa.Column("experiment", _JSON),
        sa.Column("messages", _JSON, nullable=False),
        sa.Column("response", sa.Text),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("reviewer", sa.String(64)),
        sa.Column("assigned_at", _INSTANT),
        sa.Column("action", sa.String(16)),
        sa.Column("final_decision", sa.String(16)),
        sa.Column("final_response", sa.Text),
        sa.Column("decided_at", _INSTANT),
        sa.Column("forgotten", sa.Boolean, nullable=False),
    )
    op.create_index("reviews_by_state", "reviews", ["state", "number"])
    op.create_index("reviews_by_state_and_domain", "reviews", ["state", "domain", "number"])
    op.create_index("reviews_by_arrival", "reviews", ["arrived_at"])
    op.create_index("reviews_by_decision_time", "reviews", ["decided_at"])
    for name, columns, condition in (
        ("open_reviews", ["state", "arrived_at", "domain"], "state != 'done'"),
        ("settled_reviews", ["decided_at", "decision", "action", "arrived_at"], "state = 'done'"),
    ):
        where = sa.text(condition)
        op.create_index(name, "reviews", columns, postgresql_where=where, sqlite_where=where)
    for statement in _SEARCH[op.get_bind().dialect.name]:
        op.execute(statement)
