"""OpenAI's chat completions: POST /v1/chat/completions."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from promethios_serving.openai_errors import RequestRefused
from promethios_serving.reviews.conversation import plain_message, plain_text
from promethios_serving.wrapped.governed_prompt import with_block
from promethios_serving.wrapped.interface import MALFORMED, Spoken, tokens_said
from promethios_serving.wrapped.upstream import CHAT

MAX_CHOICES: Final = 128
"""OpenAI's limit of `n`."""
_NO_USAGE: Final = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
_END_OF_EVENT: Final = b"\n\n"
_DONE: Final = b"data: [DONE]"


class ChatCompletions:
    """The interface; its methods are those of `Interface`."""

    path = CHAT

    def conversation(self, body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Return the messages. Raises RequestRefused when they are none."""
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
            message = "`messages` must be a list of at least one object with `role` and `content`"
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "bad_json", message, "messages")
        return messages

    def governed(self, body: Mapping[str, Any], block: str) -> dict[str, Any]:
        """Return the request with the block among its messages."""
        return {**body, "messages": with_block(body["messages"], block)}

    def hand_over(self, body: Mapping[str, Any], model: str, request_id: str, text: str) -> bytes:
        """Return a completion that says `text` in each of the choices that the request asks for."""
        head = {"id": f"chatcmpl-{request_id}", "created": int(time.time()), "model": model}
        return _events(body, head, text) if body.get("stream") else _whole(body, head, text)

    def spoken(self, answer: bytes) -> list[Spoken]:
        """Return the pieces of text in a whole completion or in whole events of a stream."""
        if not answer.startswith(b"data:"):
            return _pieces(answer, "message")
        events = answer.split(_END_OF_EVENT)
        return [piece for event in events for piece in _pieces(event.removeprefix(b"data:"), "delta")]

    def tokens(self, content: bytes) -> int:
        """Return what `usage` says. Raises RequestRefused for what is no completion."""
        return tokens_said(content, "choices")

    def tokens_in_events(self, events: bytes) -> int:
        """Return what the last `usage` among the events says."""
        if b'"total_tokens"' not in events:
            return 0
        found = 0
        for event in events.split(_END_OF_EVENT):
            try:
                tokens = json.loads(event.removeprefix(b"data:"))["usage"]["total_tokens"]
            except MALFORMED:
                continue
            found = tokens if isinstance(tokens, int) else found
        return found

    def has_ended(self, events: bytes) -> bool:
        """Return whether `[DONE]` was said."""
        return events.startswith(_DONE) or _END_OF_EVENT + _DONE in events


def _whole(body: Mapping[str, Any], head: Mapping[str, Any], text: str) -> bytes:
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "logprobs": None, "finish_reason": "stop"}
        for i in range(_num_choices(body))
    ]
    return json.dumps({"object": "chat.completion", **head, "choices": choices, "usage": _NO_USAGE}).encode()


def _events(body: Mapping[str, Any], head: Mapping[str, Any], text: str) -> bytes:
    head = {"object": "chat.completion.chunk", **head}
    deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": text}, None), ({}, "stop")]
    chunks = [
        {**head, "choices": [{"index": i, "delta": delta, "finish_reason": reason}]}
        for i in range(_num_choices(body))
        for delta, reason in deltas
    ]
    options = body.get("stream_options")
    if isinstance(options, Mapping) and options.get("include_usage"):
        chunks.append({**head, "choices": [], "usage": _NO_USAGE})
    return "".join([*(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks), "data: [DONE]\n\n"]).encode()


def _num_choices(body: Mapping[str, Any]) -> int:
    n = body.get("n")
    return n if isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= MAX_CHOICES else 1


def _pieces(document: bytes, part: str) -> list[Spoken]:
    text_of = _delta_text if part == "delta" else _message_text
    try:
        choices: list[Any] = json.loads(document)["choices"]
        pieces = [Spoken(choice.get("index", 0), text_of(choice[part])) for choice in choices]
    except MALFORMED:
        return []
    return [piece for piece in pieces if piece.text]


def _message_text(message: dict[str, Any]) -> str:
    return plain_message(message)["content"]


def _delta_text(delta: dict[str, Any]) -> str:
    """Return what a delta adds: text, and of a tool call first its name, then its arguments bit by bit."""
    calls = [call.get("function") or {} for call in delta.get("tool_calls") or ()]
    said = [(f"[call {call['name']}] " if call.get("name") else "") + (call.get("arguments") or "") for call in calls]
    return plain_text(delta.get("content")) + "".join(said)
