from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from promethios_serving.fail_closed import RequireGovernance
from promethios_serving.route_allowlist import GOVERNED_ROUTES, RouteAllowlist, is_open

Call = Callable[..., Any]


async def answers(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"answered"})


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/health"), ("GET", "/metrics/"), ("GET", "/v1/models/promethios")]
)
def test_a_route_that_cannot_generate_is_open(call: Call, method: str, path: str) -> None:
    assert call(RouteAllowlist(answers), path, method=method).status == 200


@pytest.mark.parametrize("path", sorted(GOVERNED_ROUTES))
def test_a_governed_route_is_open_for_post_only(call: Call, path: str) -> None:
    assert call(RouteAllowlist(answers), path).status == 200
    assert call(RouteAllowlist(answers), path, method="GET").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v1/messages/render",
        "/inference/v1/generate",
        "/v1/chat/completions/batch",
        "/invocations",
        "/v1/completions/",
        "/new",
    ],
)
def test_every_other_route_is_closed_in_openai_s_error_shape(call: Call, path: str) -> None:
    reply = call(RouteAllowlist(answers), path)
    assert reply.status == 404
    assert reply.json()["error"]["code"] == "closed_route"
    assert not is_open("PUT", path)


def test_a_websocket_is_closed() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    asyncio.run(RouteAllowlist(answers)({"type": "websocket", "path": "/v1/realtime"}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


class Empty:
    """An application's state without the wrapper's."""


class Governed:
    """An application's state once the wrapper stands."""

    promethios = object()


def test_nothing_answers_while_the_wrapper_is_not_in_place(call: Call) -> None:
    reply = call(RequireGovernance(answers), "/v1/models", method="GET", state=Empty())
    assert reply.status == 503
    assert reply.json()["error"]["code"] == "no_governance"


def test_everything_passes_once_the_wrapper_stands(call: Call) -> None:
    assert call(RequireGovernance(answers), "/v1/models", method="GET", state=Governed()).body == b"answered"
