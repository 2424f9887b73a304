"""A server to talk to, and the rehearsal as objects, in its namespace."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from promethios.cluster.connection import Object
from promethios.cluster.overlay import find_overlay, render
from tests.cluster.api_server import ApiServer

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


@pytest.fixture
def server() -> Iterator[ApiServer]:
    running = ApiServer()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def kubectl() -> None:
    """Put a kubectl on PATH, or skip: the end-to-end tests build one into the cache."""
    os.environ["PATH"] += f":{CACHE / 'promethios-e2e' / 'bin'}"
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is neither on PATH nor in the cache of the end-to-end tests")


@pytest.fixture(scope="session")
def _rehearsal(kubectl: None) -> list[Object]:
    return render(find_overlay("cpu-rehearsal"), "promethios", None)


@pytest.fixture
def rehearsal(_rehearsal: list[Object]) -> list[Object]:
    return copy.deepcopy(_rehearsal)
