"""ASGI middleware: puts the decision into the response, as headers and as a `governance` field; never into the text.

The response's start is held until the gate has decided. So the headers name the decision even when the answer is
streamed, and a refused request gets its HTTP status instead of an error inside a stream that began with 200.
"""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promethios.telemetry.header import SCORE_NAMES
from promethios_serving.event_stream import EventStream
from promethios_serving.openai_errors import send_refusal
from promethios_serving.request_context import CURRENT, GovernedRequest
from promethios_serving.settings import Expose

DECISION_HEADER: Final = "x-promethios-decision"
DECISION_ID_HEADER: Final = "x-promethios-decision-id"


def governance_field(request: GovernedRequest, expose: Expose) -> dict[str, Any] | None:
    """Return what the client may see of a decision, as plain data; None when that is nothing."""
    outcome = request.outcome
    if outcome is None or expose == "none":
        return None
    field: dict[str, Any] = {"id": request.id, "decision": outcome.decision, "review_id": request.review_id}
    if not outcome.certified:
        field["certified"] = False
    if request.self_questions:
        field["self_questions"] = len(request.self_questions)
    if expose != "decision":
        field |= {
            "probability": outcome.probability,
            "threshold": outcome.threshold,
            "degraded": outcome.degraded,
            "degraded_channels": list(outcome.degraded_channels),
            "forced": outcome.forced,
            "domain": request.domain,
            "domain_source": request.domain_source,
        }
    if expose == "scores":
        field["scores"] = dict(zip(SCORE_NAMES, outcome.scores, strict=False))
        field["probabilities"] = list(outcome.probabilities)
        field["principles"] = None if outcome.principles is None else dict(outcome.principles)
    return field


class GovernanceResponse:
    """Adds the decision to the responses of governed requests."""

    def __init__(self, app: ASGIApp, expose: Expose) -> None:
        self.app = app
        self.expose = expose

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        request = CURRENT.get()
        if request is None:
            return await self.app(scope, receive, send)
        return await self.app(scope, receive, _Response(request, self.expose, send).send)


class _Response:
    """One response on its way out."""

    def __init__(self, request: GovernedRequest, expose: Expose, send: Send) -> None:
        self._request = request
        self._expose = expose
        self._send = send
        self._start: Message = {}
        self._held: list[bytes] = []
        self._events: EventStream | None = None
        self._closed = False

    async def send(self, message: Message) -> None:
        """Take one ASGI message of the application."""
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            await self._body(message.get("body", b""), last=not message.get("more_body", False))
        else:
            await self._send(message)

    async def _body(self, body: bytes, *, last: bool) -> None:
        if self._closed:
            return
        if self._events is not None:
            await self._send_events(body, last=last)
            return
        self._held.append(body)
        if self._request.refusal is not None:
            self._closed = True
            await send_refusal(self._send, self._request.refusal)
        elif self._is_event_stream() and self._request.outcome is not None:
            self._events = EventStream(governance_field(self._request, self._expose), self._reasoning())
            await self._send({**self._start, "headers": self._headers()})
            await self._send_events(b"".join(self._held), last=last)
        elif last:
            await self._send_whole(b"".join(self._held))

    async def _send_events(self, body: bytes, *, last: bool) -> None:
        assert self._events is not None
        out = self._events.feed(body, final=last)
        if out or last:
            await self._send({"type": "http.response.body", "body": out, "more_body": not last})

    async def _send_whole(self, body: bytes) -> None:
        field = governance_field(self._request, self._expose)
        reasoning = self._reasoning()
        headers = self._headers()
        if (field or reasoning) and self._start["status"] == 200 and not self._is_event_stream():
            content = json.loads(body)
            for choice in content["choices"] if reasoning else ():
                choice["message"]["reasoning"] = reasoning
            body = json.dumps(content if field is None else {**content, "governance": field}).encode()
            headers = [(name, value) for name, value in headers if name != b"content-length"]
            headers.append((b"content-length", str(len(body)).encode()))
        await self._send({**self._start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    def _headers(self) -> list[tuple[bytes, bytes]]:
        headers: list[tuple[bytes, bytes]] = list(self._start["headers"])
        field = governance_field(self._request, self._expose)
        if field is not None:
            headers.append((DECISION_HEADER.encode(), field["decision"].encode()))
            headers.append((DECISION_ID_HEADER.encode(), field["id"].encode()))
        return headers

    def _reasoning(self) -> str:
        """Return what the model asked itself, where the client can and may see it."""
        shown = self._request.shows_reasoning and self._expose in ("full", "scores")
        return "\n".join(self._request.self_questions) if shown else ""

    def _is_event_stream(self) -> bool:
        return Headers(raw=self._start["headers"]).get("content-type", "").startswith("text/event-stream")
