"""Adds the `governance` field to a server-sent event stream of the OpenAI routes; every other byte passes unchanged."""

from __future__ import annotations

import json
from typing import Any, Final

_END_OF_EVENT: Final = b"\n\n"
_DONE: Final = b"data: [DONE]"
_LAST_RESPONSES_EVENTS: Final = (
    b"event: response.completed\n",
    b"event: response.incomplete\n",
    b"event: response.failed\n",
)
_COPIED: Final = ("id", "object", "created", "model")


class EventStream:
    """Rewrites one stream, whatever pieces it arrives in.

    Chat and text completions get one more chunk, without choices, before `[DONE]`; the responses API has the field in
    the response object of its last event. A field of None leaves the stream as it is.
    """

    def __init__(self, field: dict[str, Any] | None) -> None:
        self._field = field
        self._pending = b""
        self._first: dict[str, Any] | None = None

    def feed(self, piece: bytes, *, final: bool) -> bytes:
        """Return the bytes that can be sent now. `final` says that nothing follows."""
        if self._field is None:
            return piece
        *events, self._pending = (self._pending + piece).split(_END_OF_EVENT)
        out = b"".join(self._rewritten(event) + _END_OF_EVENT for event in events)
        if final:
            out, self._pending = out + self._pending, b""
        return out

    def _rewritten(self, event: bytes) -> bytes:
        if event == _DONE:
            chunk = {**(self._first or {}), "choices": [], "governance": self._field}
            return b"data: " + json.dumps(chunk).encode() + _END_OF_EVENT + event
        if event.startswith(_LAST_RESPONSES_EVENTS):
            head, data = event.split(b"data: ", 1)
            content = json.loads(data)
            content["response"]["governance"] = self._field
            return head + b"data: " + json.dumps(content).encode()
        if self._first is None and event.startswith(b"data: {"):
            content = json.loads(event.removeprefix(b"data: "))
            self._first = {name: content[name] for name in _COPIED if name in content}
        return event
