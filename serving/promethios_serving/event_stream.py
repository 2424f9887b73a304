"""Adds the `governance` field to a server-sent event stream of the OpenAI routes; every other byte passes unchanged."""

from __future__ import annotations

import json
from typing import Any, Final

_END_OF_EVENT: Final = b"\n\n"
_DONE: Final = b"data: [DONE]"
LAST_RESPONSES_EVENTS: Final = (
    b"event: response.completed\n",
    b"event: response.incomplete\n",
    b"event: response.failed\n",
)
_FIRST_MESSAGES_EVENT: Final = b"event: message_start\n"
_COPIED: Final = ("id", "object", "created", "model")


class EventStream:
    """Rewrites one stream, whatever pieces it arrives in.

    Chat and text completions get one more chunk, without choices, before `[DONE]`; the responses API has the field in
    the response object of its last event, Anthropic's messages in the message of their first. A field of None is left
    out. `reasoning` is one more chunk of a chat, behind its first.
    """

    def __init__(self, field: dict[str, Any] | None, reasoning: str = "") -> None:
        self._field = field
        self._reasoning = reasoning
        self._pending = b""
        self._first: dict[str, Any] | None = None
        self._told = False

    def feed(self, piece: bytes, *, final: bool) -> bytes:
        """Return the bytes that can be sent now. `final` says that nothing follows."""
        if self._field is None and not self._reasoning:
            return piece
        *events, self._pending = (self._pending + piece).split(_END_OF_EVENT)
        out = b"".join(self._passed(event) + _END_OF_EVENT for event in events)
        if final:
            out, self._pending = out + self._pending, b""
        return out

    def _passed(self, event: bytes) -> bytes:
        try:
            return self._rewritten(event)
        except (ValueError, LookupError, TypeError, RecursionError):  # an upstream's, and not what it should be
            return event

    def _rewritten(self, event: bytes) -> bytes:
        if self._first is None and event.startswith(b"data: {"):
            content = json.loads(event.removeprefix(b"data: "))
            self._first = {name: content[name] for name in _COPIED if name in content}
            if self._reasoning:
                delta = {"index": 0, "delta": {"reasoning": self._reasoning}, "finish_reason": None}
                return event + _END_OF_EVENT + self._chunk(choices=[delta])
        if self._field is None or self._told:
            return event
        if event == _DONE:
            return self._chunk(choices=[], governance=self._field) + _END_OF_EVENT + event
        if event.startswith(LAST_RESPONSES_EVENTS):
            return self._with_field(event, "response")
        if event.startswith(_FIRST_MESSAGES_EVENT):
            return self._with_field(event, "message")
        return event

    def _chunk(self, **content: Any) -> bytes:
        return b"data: " + json.dumps({**(self._first or {}), **content}).encode()

    def _with_field(self, event: bytes, where: str) -> bytes:
        head, data = event.split(b"data: ", 1)
        content = json.loads(data)
        content[where]["governance"] = self._field
        self._told = True  # some servers say [DONE] after the end of a response, too
        return head + b"data: " + json.dumps(content).encode()
