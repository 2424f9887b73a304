"""The hub's application in this process, on SQLite and on PostgreSQL."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from starlette.testclient import TestClient

from promethios_hub.app import create_app
from promethios_hub.settings import HubSettings
from tests.hub.servers import PostgresqlServer, postgresql_programs

ACCESS = {
    "engine": {"scopes": "[engine]"},
    "acme-engine": {"scopes": "[engine]", "tenant": "acme"},
    "reviewer": {"scopes": "[review]"},
    "admin": {"scopes": "[admin]"},
    "telemetry": {"scopes": "[telemetry]"},
    "acme-app": {"scopes": "[infer]", "tenant": "acme"},
    "acme-telemetry": {"scopes": "[telemetry]", "tenant": "acme"},
    "other-app": {"scopes": "[infer]", "tenant": "other"},
    "acme-reviewer": {"scopes": "[review]", "tenant": "acme"},
    "acme-admin": {"scopes": "[admin]", "tenant": "acme"},
}
MakeHub = Callable[..., TestClient]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    server = PostgresqlServer(programs)
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'hub.db'}"
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    name = "hub_" + hashlib.sha256(str(tmp_path).encode()).hexdigest()[:16]
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return server.url.rpartition("/")[0] + f"/{name}"


@pytest.fixture
def make_hub(database_url: str) -> Iterator[MakeHub]:
    """Return started hubs; they end with the test."""
    with ExitStack() as stack:

        def make(**settings: Any) -> TestClient:
            app = create_app(HubSettings(database_url=database_url, **settings))
            return stack.enter_context(TestClient(app, base_url="http://localhost"))

        yield make


@pytest.fixture
def hub(make_hub: MakeHub) -> TestClient:
    """A hub without keys, for whoever is on this machine."""
    return make_hub()


@pytest.fixture
def access_file(tmp_path: Path) -> Path:
    """An access file whose keys are `key-<id>`."""
    lines = ["tenants: {acme: {}, other: {}}", "keys:"]
    for name, entry in ACCESS.items():
        digest = hashlib.sha256(f"key-{name}".encode()).hexdigest()
        rest = ", ".join(f"{key}: {value}" for key, value in entry.items())
        lines.append(f"  - {{id: {name}, sha256: {digest}, {rest}}}")
    path = tmp_path / "access.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def key(name: str) -> dict[str, str]:
    """Return the header with a key of the access file."""
    return {"authorization": f"Bearer key-{name}"}
