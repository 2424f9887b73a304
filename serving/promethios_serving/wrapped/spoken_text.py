"""The text in a chat completion, for the reviewers of an answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


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
    try:
        choices: list[Any] = json.loads(document)["choices"]
        return [
            Spoken(choice.get("index", 0), choice[part]["content"]) for choice in choices if choice[part].get("content")
        ]
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError):
        return []
