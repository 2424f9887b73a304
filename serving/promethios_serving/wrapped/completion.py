"""A chat completion that this server writes itself: the hand-over of an escalation, as JSON or as events."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Final

MAX_CHOICES: Final = 128
"""OpenAI's limit of `n`."""
_NO_USAGE: Final = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def whole_completion(body: Mapping[str, Any], model: str, completion_id: str, text: str) -> bytes:
    """Return a chat completion that says `text` in each of the choices that the request asks for."""
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "logprobs": None, "finish_reason": "stop"}
        for i in range(_num_choices(body))
    ]
    completion = {**_head("chat.completion", model, completion_id), "choices": choices, "usage": _NO_USAGE}
    return json.dumps(completion).encode()


def completion_events(body: Mapping[str, Any], model: str, completion_id: str, text: str) -> bytes:
    """Return the same as the events of a stream."""
    head = _head("chat.completion.chunk", model, completion_id)
    deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": text}, None), ({}, "stop")]
    chunks = [
        {**head, "choices": [{"index": i, "delta": delta, "finish_reason": reason}]}
        for i in range(_num_choices(body))
        for delta, reason in deltas
    ]
    options = body.get("stream_options")
    if isinstance(options, Mapping) and options.get("include_usage"):
        chunks.append({**head, "choices": [], "usage": _NO_USAGE})
    events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return "".join([*events, "data: [DONE]\n\n"]).encode()


def _num_choices(body: Mapping[str, Any]) -> int:
    n = body.get("n")
    return n if isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= MAX_CHOICES else 1


def _head(kind: str, model: str, completion_id: str) -> dict[str, Any]:
    return {"id": completion_id, "object": kind, "created": int(time.time()), "model": model}
