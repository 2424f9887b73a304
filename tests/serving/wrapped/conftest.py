"""The wrapped server in front of a mock upstream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from promethios_serving.settings import Settings
from tests.serving.wrapped.servers import Hub, MockUpstream, mock_upstream, serving

GOOD_TELEMETRY = "trust: 0.9\nverify: 0.9\nattest: 0.9\nbound: 0.9\n"


@pytest.fixture
def upstream() -> Iterator[MockUpstream]:
    with mock_upstream() as mock:
        yield mock


@pytest.fixture
def other_upstream() -> Iterator[MockUpstream]:
    with mock_upstream() as mock:
        yield mock


@pytest.fixture
def hub() -> Iterator[Hub]:
    with mock_upstream() as mock:
        yield Hub(mock)


@pytest.fixture
def telemetry_file(tmp_path: Path) -> Path:
    path = tmp_path / "telemetry.yaml"
    path.write_text(GOOD_TELEMETRY, encoding="utf-8")
    return path


@pytest.fixture
def wrapped(upstream: MockUpstream, telemetry_file: Path, tmp_path: Path) -> Callable[..., Any]:
    """Start the server in front of the mock: `with wrapped(self_check=True) as client: client.post(...)`."""

    @contextmanager
    def start(**settings: Any) -> Iterator[httpx.Client]:
        defaults = {"upstream_url": upstream.url, "telemetry_file": telemetry_file, "upstream_timeout_s": 5.0}
        defaults["drain_file"] = tmp_path / "drain"
        with serving(Settings(**{**defaults, **settings})) as url, httpx.Client(base_url=url, timeout=20) as client:
            yield client

    return start
