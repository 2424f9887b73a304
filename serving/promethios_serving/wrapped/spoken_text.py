"""The text in a chat completion, for the reviewers of an answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from promethios_serving.reviews.conversation import plain_message, plain_text


@dataclass(slots=True)
class Spoken:
    """A piece of one choice of an answer."""

    index: int
    text: str


def spoken_in(content: bytes) -> list[Spoken]:
    """Return the pieces of text in a whole completion or in whole events of a stream; what is neither says nothing."""
    if not content.startswith(b"data:"):
        return _pieces(content, "message")
    events = content.split(b"\n\n")
    return [piece for event in events for piece in _pieces(event.removeprefix(b"data:"), "delta")]


def _pieces(document: bytes, part: str) -> list[Spoken]:
    text_of = _delta_text if part == "delta" else _message_text
    try:
        choices: list[Any] = json.loads(document)["choices"]
        pieces = [Spoken(choice.get("index", 0), text_of(choice[part])) for choice in choices]
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError):
        return []
    return [piece for piece in pieces if piece.text]


def _message_text(message: dict[str, Any]) -> str:
    return plain_message(message)["content"]


def _delta_text(delta: dict[str, Any]) -> str:
    """Return what a delta adds: text, and of a tool call first its name, then its arguments bit by bit."""
    calls = [call.get("function") or {} for call in delta.get("tool_calls") or ()]
    said = [(f"[call {call['name']}] " if call.get("name") else "") + (call.get("arguments") or "") for call in calls]
    return plain_text(delta.get("content")) + "".join(said)
