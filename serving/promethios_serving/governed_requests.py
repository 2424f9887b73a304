"""ASGI middleware: takes the governance input out of a request and puts it into the context of the engine hook.

A signed token is used up by the decision that was made on it. A request that ends without one gives the token back,
so that a client that is told to try again can.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promethios_serving.access.caller import caller_of
from promethios_serving.governance_input import GovernanceInput
from promethios_serving.openai_errors import RequestRefused, send_refusal
from promethios_serving.request_body import ClientGone, read_body, replay
from promethios_serving.request_context import CURRENT, GovernedRequest
from promethios_serving.route_allowlist import CHAT_ROUTE, GOVERNED_ROUTES, route_path
from promethios_serving.telemetry.signed import SignedTelemetry


class GovernedRequests:
    """Opens a governed context for each request on a governed route; vLLM never sees the `governance` field."""

    def __init__(
        self,
        app: ASGIApp,
        default_domain: str | None,
        telemetry_key: str | None,
        signed: SignedTelemetry | None = None,
    ) -> None:
        self.app = app
        self.input = GovernanceInput(default_domain=default_domain, telemetry_key=telemetry_key, signed=signed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or scope["method"] != "POST" or route_path(scope) not in GOVERNED_ROUTES:
            return await self.app(scope, receive, send)
        try:
            raw = await read_body(receive)
            request, body = self._open(scope, raw)
        except RequestRefused as refusal:
            return await send_refusal(send, refusal)
        except RecursionError:
            return await send_refusal(send, _not_json("the request body is nested too deeply"))
        except ClientGone:
            return None
        token = CURRENT.set(request)
        try:
            heard = send if request.turned_away is None else _giving_back(request, send)
            await self.app(_with_length(scope, len(body)), replay(body, receive), heard)
        finally:
            CURRENT.reset(token)
            _give_back(request)

    def _open(self, scope: Scope, raw: bytes) -> tuple[GovernedRequest, bytes]:
        """Return the request's context and the body that vLLM shall see."""
        body = _parsed(raw)
        _refuse_ungovernable(body)
        request = self.input.request(route_path(scope), body, Headers(scope=scope), caller_of(scope))
        request.shows_reasoning = request.route == CHAT_ROUTE and body.get("include_reasoning") is not False
        # Serialised again, so that vLLM cannot read the bytes in another way than they were read here.
        return request, json.dumps(body).encode()


def _giving_back(request: GovernedRequest, send: Send) -> Send:
    """Return a `send` that gives back what a refused request used up, before its client can come again."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= HTTPStatus.BAD_REQUEST:
            _give_back(request, again=message["status"] == HTTPStatus.SERVICE_UNAVAILABLE)
        await send(message)

    return sending


def _give_back(request: GovernedRequest, *, again: bool = False) -> None:
    """Give back what a request used up, once, if nothing was decided on it.

    again: the reply asks the client to come again, because the decision could not be recorded or its review not kept.
    """
    if request.turned_away is not None and (again or request.outcome is None):
        request.turned_away()
        request.turned_away = None


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        raise _not_json("the request body is not valid JSON") from None
    if not isinstance(body, dict):
        raise _not_json("the request body must be a JSON object")
    return body


def _not_json(message: str) -> RequestRefused:
    return RequestRefused(HTTPStatus.BAD_REQUEST, "bad_json", message)


def _refuse_ungovernable(body: dict[str, Any]) -> None:
    """Refuse what one decision cannot cover, and what vLLM cannot read.

    A request is one prompt, answered while the client waits.
    """
    if body.get("use_beam_search"):
        raise _unsupported("use_beam_search", "beam search is not supported; use n or sampling")
    if body.get("background"):
        raise _unsupported("background", "background responses are not supported; leave `background` out")
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) > 1 and not isinstance(prompt[0], int):
        raise _unsupported(
            "prompt", f"{len(prompt)} prompts in one request; each needs its own decision, send them apart"
        )
    items = body.get("input")
    for number, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict) and item.get("content") == []:  # vLLM reads its first part, and fails
            raise _unsupported("input", f"input[{number}].content is empty; leave the item out or give it a text")


def _unsupported(param: str, message: str) -> RequestRefused:
    return RequestRefused(HTTPStatus.BAD_REQUEST, "unsupported", message, param)


def _with_length(scope: Scope, length: int) -> Scope:
    headers = [
        (name, value) for name, value in scope["headers"] if name not in (b"content-length", b"transfer-encoding")
    ]
    return {**scope, "headers": [*headers, (b"content-length", str(length).encode())]}
