"""Keeps a server without governance shut.

vLLM logs a plugin that cannot be loaded and serves on without it. A middleware named with `--middleware` is loaded by
another path and its failure ends the start, so this one stands guard: it lets nothing through until the wrapper has
put its state on the application.
"""

from __future__ import annotations

from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from promethios_serving.openai_errors import RequestRefused, send_refusal

STATE_ATTRIBUTE = "promethios"


class RequireGovernance:
    """ASGI middleware that answers 503 as long as the inference wrapper is not in place."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan" or hasattr(scope["app"].state, STATE_ATTRIBUTE):
            return await self.app(scope, receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        message = "the governance wrapper is not running; see the server's log for why the plugin did not load"
        return await send_refusal(send, RequestRefused(HTTPStatus.SERVICE_UNAVAILABLE, "no_governance", message))
