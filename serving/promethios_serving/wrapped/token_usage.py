"""How many tokens an upstream's answer took: as it says itself, or about; token quotas pay for them."""

from __future__ import annotations

import json
from typing import Final

from promethios_serving.wrapped.upstream import garbage

_BYTES_OF_A_TOKEN: Final = 4
"""About; where an upstream does not say how many tokens it took. A streamed event counts as one."""


def tokens_of(content: bytes) -> int:
    """Return the tokens that a completion says it took, 0 when it does not. Raises RequestRefused for what is none."""
    try:
        completion = json.loads(content)
        if not isinstance(completion["choices"], list):
            raise garbage()
        usage = completion.get("usage") or {}
        tokens = usage.get("total_tokens")
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError):
        raise garbage() from None
    return tokens if isinstance(tokens, int) else 0


def tokens_in_events(events: bytes) -> int:
    """Return the tokens that whole events of a stream say the completion took; 0 while they do not."""
    if b'"total_tokens"' not in events:
        return 0
    found = 0
    for event in events.split(b"\n\n"):
        try:
            tokens = json.loads(event.removeprefix(b"data:"))["usage"]["total_tokens"]
        except (LookupError, TypeError, ValueError, RecursionError):
            continue
        found = tokens if isinstance(tokens, int) else found
    return found


def estimated_tokens(*texts: bytes) -> int:
    """Return about how many tokens texts are."""
    return sum(map(len, texts)) // _BYTES_OF_A_TOKEN
