"""Every route of the installed vLLM has been looked at: a new one fails here before anybody can reach it."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest

from promethios_serving.route_allowlist import GOVERNED_ROUTES, OPEN_GET_ROUTES, OPEN_POST_ROUTES, is_open

pytestmark = pytest.mark.integration

HARMLESS = {
    "POST /tokenize",
    "POST /detokenize",
    "POST /v1/messages/count_tokens",
    *(f"GET {path}" for path in OPEN_GET_ROUTES),
    "HEAD /docs",
    "HEAD /openapi.json",
}
"""Neither generates nor changes anything."""

CLOSED = {
    # generate past the gate, or several times in one request
    "POST /generative_scoring",
    "POST /inference/v1/generate",
    "POST /invocations",
    "POST /v1/chat/completions/batch",
    "POST /v1/systemone",
    # half of a generation: prompts with reserved ids, answers that nobody redacted
    "POST /v1/chat/completions/derender",
    "POST /v1/chat/completions/render",
    "POST /v1/completions/derender",
    "POST /v1/completions/render",
    "POST /v1/messages/render",
    "POST /v1/responses/render",
    # other clients' requests
    "GET /v1/responses/{response_id}",
    "POST /v1/responses/{response_id}/cancel",
    "POST /inference/v1/abort_requests",
    # the operator's
    "GET /kv_event_sources",
    "POST /is_scaling_elastic_ep",
    "POST /scale_elastic_ep",
    # duplicates of open ones
    "GET /docs/oauth2-redirect",
    "HEAD /docs/oauth2-redirect",
    "GET /redoc",
    "HEAD /redoc",
    "POST /ping",
}


@pytest.fixture(scope="module")
def routes() -> set[str]:
    """The routes of vLLM's server for a model that generates, as "METHOD path"."""
    from fastapi import FastAPI
    from vllm.entrypoints.launchers.api_server.routers import register_api_routers

    app = FastAPI()
    app.state.args = Namespace()
    register_api_routers(Namespace(), app, ("generate",), None)
    routes: list[Any] = list(app.routes)
    return {f"{method} {route.path}" for route in routes for method in getattr(route, "methods", None) or ()}


def test_every_route_is_governed_harmless_or_closed(routes: set[str]) -> None:
    governed = {f"POST {path}" for path in GOVERNED_ROUTES}
    assert governed <= routes
    unknown = routes - governed - HARMLESS - CLOSED
    assert not unknown, "vLLM has new routes; see what they do, then name them here"


def test_the_allowlist_agrees(routes: set[str]) -> None:
    assert {f"POST {path}" for path in OPEN_POST_ROUTES} == {f"POST {path}" for path in GOVERNED_ROUTES} | {
        route for route in HARMLESS if route.startswith("POST")
    }
    for route in routes:
        method, path = route.split(" ")
        assert is_open(method, path) == (route not in CLOSED), route
