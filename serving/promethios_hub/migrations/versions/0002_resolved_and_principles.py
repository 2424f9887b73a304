"""Whose answer an outcome is about, so that its tenant may say what came of it; which principles fired in a review."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"

_JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Bring the tables to this version; what is there already has no tenant and no principles."""
    op.add_column("outcomes", sa.Column("tenant", sa.String(64)))
    op.add_column("reviews", sa.Column("principles", _JSON))
