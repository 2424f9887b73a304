"""Which routes of vLLM's server are open: those that are governed and those that cannot generate.

An allowlist, because vLLM gains routes with every release (this one has Anthropic messages, token-in-token-out,
batches, structured decisions and more) and a route that nobody has looked at must not answer ungoverned.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from promethios_serving.access.caller import Scope as AccessScope
from promethios_serving.openai_errors import RequestRefused, send_refusal

CHAT_ROUTE: Final = "/v1/chat/completions"
RESPONSES_ROUTE: Final = "/v1/responses"
GOVERNED_ROUTES: Final = frozenset({CHAT_ROUTE, "/v1/completions", RESPONSES_ROUTE, "/v1/messages"})
OPEN_POST_ROUTES: Final = GOVERNED_ROUTES | {"/tokenize", "/detokenize", "/v1/messages/count_tokens"}
"""Those that are not governed only turn text into token ids and back: reserved ids are scrubbed where they are used."""
OPEN_GET_ROUTES: Final = frozenset(
    {"/health", "/ping", "/version", "/load", "/metrics", "/v1/models", "/v1/governance", "/openapi.json", "/docs"}
)
_INSTEAD: Final = {
    "/v1/chat/completions/batch": "each conversation needs its own decision; send them apart, at the same time if you "
    f"like, to {CHAT_ROUTE}",
}
"""What to do instead of calling a closed route, where there is something."""

_NEED_NO_KEY: Final = frozenset({"/health", "/ready", "/ping", "/metrics", "/version", "/docs", "/openapi.json"})
"""What probes, Prometheus and readers of the documentation ask for."""


def needed_scope(method: str, path: str) -> AccessScope | None:
    """Return the scope that a route needs; None for the few that tell nothing about requests."""
    return None if method in ("GET", "HEAD") and path.removesuffix("/") in _NEED_NO_KEY else "infer"


def route_path(scope: Scope) -> str:
    """Return a request's path without the server's root path."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def is_open(method: str, path: str) -> bool:
    """Return whether a route may be reached."""
    if method == "POST":
        return path in OPEN_POST_ROUTES
    return method in ("GET", "HEAD") and (path.removesuffix("/") in OPEN_GET_ROUTES or path.startswith("/v1/models/"))


def closed_routes(routes: list[Any]) -> list[str]:
    """Return the server's own routes that stay closed, as "METHOD path"."""
    pairs = {(method, route.path) for route in routes for method in getattr(route, "methods", None) or ()}
    return sorted(f"{method} {path}" for method, path in pairs if not is_open(method, path))


class RouteAllowlist:
    """ASGI middleware that answers 404 on every route that is not open, and closes every websocket."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        if scope["type"] != "http" or is_open(scope["method"], route_path(scope)):
            return await self.app(scope, receive, send)
        because = _INSTEAD.get(route_path(scope), "only governed routes answer")
        message = f"{scope['method']} {route_path(scope)} is closed: {because}"
        return await send_refusal(send, RequestRefused(HTTPStatus.NOT_FOUND, "closed_route", message))
