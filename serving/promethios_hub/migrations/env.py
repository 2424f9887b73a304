"""Alembic runs this: migrate on the connection that promethios_hub.database hands over."""

from __future__ import annotations

from alembic import context

from promethios_hub.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
