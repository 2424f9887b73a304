"""ASGI middleware: of those who show no key, next to nothing is read."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from promethios_hub.console.session import SignInNeeded, current_session
from promethios_serving.access.access_file import AccessFile
from promethios_serving.access.authenticate import authenticated
from promethios_serving.openai_errors import RequestRefused, send_refusal
from promethios_serving.request_body import BodyLimit

_MAX_BYTES: Final = 16 * 1024
"""Much more than the console's form to sign in."""


class StrangersFirst:
    """Refuses the API to strangers before their body is read (401), and takes forms of them that are small (413).

    The routes read the body before they ask for the key, and demand their own scope then.
    """

    def __init__(self, app: ASGIApp, access: AccessFile, limits: Mapping[str, Any]) -> None:
        """limits: those of the BodyLimit that holds for everybody else."""
        self.app = app
        self._access = access
        stricter = {"max_bytes": min(_MAX_BYTES, limits["max_bytes"]), "setting": "that of who is not signed in"}
        self._small = BodyLimit(app, **{**limits, **stricter})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if not scope["path"].startswith("/v1/"):
            app = self.app if _is_signed_in(Request(scope)) else self._small
            return await app(scope, receive, send)
        try:
            authenticated(self._access, Headers(scope=scope), "infer")
        except RequestRefused as refusal:
            if refusal.status == HTTPStatus.UNAUTHORIZED:
                return await send_refusal(send, refusal)
        return await self.app(scope, receive, send)


def _is_signed_in(request: Request) -> bool:
    try:
        current_session(request)
    except SignInNeeded:
        return False
    return True
