"""The database: PostgreSQL for a team, an SQLite file on one machine; opened here, migrated here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from promethios.errors import ConfigError, ServingError

_DRIVERS: Final = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "sqlite": "sqlite+aiosqlite"}
_NOT_FOR_EVER: Final = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""Of libpq: a server whose address is gone (a pod that was moved) answers nothing at all, for a quarter of an hour."""
_MIGRATION_LOCK: Final = 0x70726F6D
"""Key of PostgreSQL's advisory lock: of several hubs that start at once, one migrates and the others wait."""


class NewerDatabase(ServingError):
    """The database was migrated by a newer hub: waiting does not help."""


def database_url(text_url: str) -> URL:
    """Return a URL with our driver, from `postgresql://...` or `sqlite:///file`. Raises ConfigError."""
    try:
        url = make_url(text_url)
    except ArgumentError:
        raise ConfigError("the database URL cannot be read; postgresql://user@host/name or sqlite:///hub.db") from None
    dialect = url.drivername.split("+")[0]
    if dialect not in _DRIVERS:
        raise ConfigError(f"the database {dialect!r} is not supported; one of postgresql, sqlite")
    return url.set(drivername=_DRIVERS[dialect])


def open_database(url: URL, *, pool_size: int = 10) -> AsyncEngine:
    """Return the database's engine; nothing is connected yet. Its errors do not quote values: they reach the log."""
    if url.drivername.startswith("sqlite"):
        engine = create_async_engine(url, hide_parameters=True)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        return engine
    # pre-ping: a database that was restarted costs a new connection, not a failed request
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_pre_ping=True,
        connect_args=_NOT_FOR_EVER,
        hide_parameters=True,
    )


async def migrate(engine: AsyncEngine) -> None:
    """Bring the tables to this version. Raises ServingError when the database does not answer, and NewerDatabase."""
    try:
        async with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                await connection.execute(text(f"SELECT pg_advisory_lock({_MIGRATION_LOCK})"))
                await connection.commit()
            try:
                await connection.run_sync(_upgrade)
                await connection.commit()
            finally:
                if engine.dialect.name == "postgresql":
                    await connection.rollback()
                    await connection.execute(text(f"SELECT pg_advisory_unlock({_MIGRATION_LOCK})"))
                    await connection.commit()
    except DBAPIError as error:
        where = engine.url.render_as_string(hide_password=True)
        raise ServingError(f"the database {where} cannot be used: {str(error.orig).strip()}") from None
    except CommandError as error:
        where = engine.url.render_as_string(hide_password=True)
        raise NewerDatabase(
            f"the database {where} was migrated by a newer hub ({error}); run that version, or restore an older backup"
        ) from None


def migration_settings(connection: Connection | None = None) -> Config:
    """Return Alembic's settings for the migrations that this package carries."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    command.upgrade(migration_settings(connection), "head")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Readers and the writer do not wait for each other (WAL), and writers wait for one another instead of failing."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.close()
