"""ASGI middleware: says who calls, or refuses. The outermost of our pieces, so that nothing is done for a stranger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from promethios_serving import metrics
from promethios_serving.access.access_file import AccessFile
from promethios_serving.access.caller import Caller, with_caller
from promethios_serving.access.caller import Scope as AccessScope
from promethios_serving.openai_errors import RequestRefused, send_refusal

NeededScope = Callable[[str, str], AccessScope | None]
"""(method, path) -> the scope that a route needs; None for one that is open to everybody."""

_BEARER: Final = "bearer "


class Authenticate:
    """Puts the caller into the ASGI scope; without an access file everybody stays anonymous."""

    def __init__(self, app: ASGIApp, access: AccessFile | None, needed_scope: NeededScope) -> None:
        self.app = app
        self.access = access
        self.needed_scope = needed_scope

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if self.access is None or scope["type"] != "http":
            return await self.app(scope, receive, send)
        needed = self.needed_scope(scope["method"], scope["path"].removeprefix(scope.get("root_path", "")))
        if needed is None:
            return await self.app(scope, receive, send)
        try:
            caller = authenticated(self.access, Headers(scope=scope), needed)
        except RequestRefused as refusal:
            metrics.UNAUTHORIZED_REQUESTS.labels(reason=refusal.reason).inc()
            return await send_refusal(send, refusal)
        return await self.app(with_caller(scope, caller), receive, send)


def authenticated(access: AccessFile, headers: Mapping[str, str], needed: AccessScope) -> Caller:
    """Return whose key the headers carry. Raises RequestRefused: 401 without a valid key, 403 without the scope."""
    key = presented_key(headers)
    if not key:
        message = "this server needs an API key: send `Authorization: Bearer KEY`; its operator makes keys"
        raise RequestRefused(HTTPStatus.UNAUTHORIZED, "no_api_key", message)
    caller = access.caller(key)
    if caller is None:
        message = "the API key is not known to this server; check it, or ask its operator for another"
        raise RequestRefused(HTTPStatus.UNAUTHORIZED, "invalid_api_key", message)
    if not caller.may(needed):
        message = f"the API key {caller.key_id!r} lacks the scope {needed!r} that this route needs"
        raise RequestRefused(HTTPStatus.FORBIDDEN, "missing_scope", message)
    return caller


def presented_key(headers: Mapping[str, str]) -> str:
    """Return the API key in the headers: OpenAI's `Authorization: Bearer` or Anthropic's `x-api-key`; else ""."""
    authorization = headers.get("authorization", "")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        return authorization[len(_BEARER) :].strip()
    return headers.get("x-api-key", "").strip()
