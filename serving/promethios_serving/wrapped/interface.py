"""What wrapped mode has to know of an interface of OpenAI's: how it asks, what it says, when it has ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from promethios_serving.wrapped.upstream import garbage

MALFORMED: Final = (LookupError, TypeError, AttributeError, ValueError, RecursionError)
"""What reading another server's JSON may raise."""
_BYTES_OF_A_TOKEN: Final = 4
"""About; where an upstream does not say how many tokens it took. A streamed event counts as one."""


@dataclass(slots=True)
class Spoken:
    """A piece of one choice of an answer."""

    index: int
    text: str


class Interface(Protocol):
    """An interface; `content` is a whole reply as JSON, `events` are whole server-sent events."""

    path: str
    """Behind an upstream's URL."""

    def conversation(self, body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Return a request's conversation as chat messages. Raises RequestRefused when there is none."""

    def governed(self, body: Mapping[str, Any], block: str) -> dict[str, Any]:
        """Return a request with the governance block in its system prompt."""

    def hand_over(self, body: Mapping[str, Any], model: str, request_id: str, text: str) -> bytes:
        """Return the answer that this server gives itself, as JSON, or as events where the request asks for them."""

    def spoken(self, answer: bytes) -> list[Spoken]:
        """Return the pieces of text in content or events, for reviewers; what is neither says nothing."""

    def tokens(self, content: bytes) -> int:
        """Return the tokens that a reply says it took, 0 when it does not. Raises RequestRefused for what is none."""

    def tokens_in_events(self, events: bytes) -> int:
        """Return the tokens that events say the answer took; 0 while they do not."""

    def has_ended(self, events: bytes) -> bool:
        """Return whether a stream's end is among its events; one that stops before it was cut, however politely."""


def tokens_said(content: bytes, answers: str) -> int:
    """Return what a whole reply says in `usage`, 0 when it says nothing. answers: the name of its list of answers.

    Raises RequestRefused for what is no such reply.
    """
    try:
        reply = json.loads(content)
        if not isinstance(reply[answers], list):
            raise garbage()
        return total_tokens(reply)
    except MALFORMED:
        raise garbage() from None


def total_tokens(reply: Mapping[str, Any]) -> int:
    """Return the total of a reply's `usage`, 0 without one. What is no reply raises one of MALFORMED."""
    tokens = (reply.get("usage") or {}).get("total_tokens")
    return tokens if isinstance(tokens, int) else 0


def estimated_tokens(*texts: bytes) -> int:
    """Return about how many tokens texts are."""
    return sum(map(len, texts)) // _BYTES_OF_A_TOKEN
