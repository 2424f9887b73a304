"""What the hub reads of those who show no key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.hub.conftest import MakeHub, key

MEBIBYTE = b"x" * 2**20


@pytest.fixture
def guarded(make_hub: MakeHub, access_file: Path) -> TestClient:
    return make_hub(access_file=access_file)


def send(hub: TestClient, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, int]:
    """Send a body that does not end; returns the reply's status, and how many bytes were asked for."""
    read, sent = 0, []

    async def receive() -> Any:
        nonlocal read
        assert read < 64 * len(MEBIBYTE), "read without end"
        read += len(MEBIBYTE)
        return {"type": "http.request", "body": MEBIBYTE, "more_body": True}

    async def take(message: Any) -> None:
        sent.append(message)

    all_headers = {"host": "localhost", "transfer-encoding": "chunked", **(headers or {})}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in all_headers.items()],
    }
    hub.portal.call(hub.app, scope, receive, take)  # type: ignore[union-attr]
    return sent[0]["status"], read


@pytest.mark.parametrize("headers", [{}, key("nobody")], ids=["no key", "unknown key"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/reviews"),
        ("PUT", "/v1/outcomes/x/resolved"),
        ("POST", "/v1/reviews/x/decide"),
        ("PATCH", "/v1/nothing"),
        ("DELETE", "/v1/telemetry"),
    ],
)
def test_nothing_of_a_stranger_s_body_is_read(
    guarded: TestClient, method: str, path: str, headers: dict[str, str]
) -> None:
    assert send(guarded, method, path, headers=headers) == (401, 0)


@pytest.mark.parametrize("path", ["/console/sign-in", "/console/reviews/gov-1/edit", "/elsewhere"])
def test_a_form_of_somebody_who_is_not_signed_in_is_small(guarded: TestClient, path: str) -> None:
    assert send(guarded, "POST", path) == (413, len(MEBIBYTE))


def test_who_is_signed_in_may_write_a_long_answer(guarded: TestClient) -> None:
    guarded.post("/console/sign-in", data={"key": "key-reviewer"})
    reply = guarded.post("/console/reviews/gov-1/edit", data={"version": "1", "response": "x" * 100_000})
    assert reply.status_code == 403 and "out of date" in reply.text, "read whole, and without the form's token"


@pytest.mark.parametrize("name", ["acme-app", "admin"])
def test_a_known_key_s_body_is_limited_by_the_setting_whatever_the_method(
    make_hub: MakeHub, access_file: Path, name: str
) -> None:
    hub = make_hub(access_file=access_file, max_body_bytes=3 * 2**20)
    assert send(hub, "PUT", "/v1/outcomes/x/resolved", headers=key(name)) == (413, 4 * 2**20)
