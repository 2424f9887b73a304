"""OpenAI's responses: POST /v1/responses.

A conversation that the upstream keeps (`previous_response_id`, `conversation`) is the upstream's: who decides and who
reviews see what this request says. A hand-over is kept nowhere, so its id continues nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from promethios_serving.event_stream import LAST_RESPONSES_EVENTS
from promethios_serving.openai_errors import RequestRefused
from promethios_serving.reviews.conversation import plain_conversation, plain_message
from promethios_serving.wrapped.governed_prompt import with_block
from promethios_serving.wrapped.interface import MALFORMED, Spoken, tokens_said, total_tokens
from promethios_serving.wrapped.upstream import RESPONSES

_NO_USAGE: Final = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}
_TEXT_DELTAS: Final = (
    "response.output_text.delta",
    "response.refusal.delta",
    "response.function_call_arguments.delta",
)
_LAST_EVENTS: Final = (*LAST_RESPONSES_EVENTS, b"event: error\n")


class Responses:
    """The interface; its methods are those of `Interface`."""

    path = RESPONSES

    def conversation(self, body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Return instructions and input as messages of plain text. Raises RequestRefused when there is no input."""
        said = body.get("input")
        is_list = isinstance(said, list) and all(isinstance(item, dict) for item in said)
        if not said or not (is_list or isinstance(said, str)):
            message = "`input` must be a text or a list of at least one object"
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "bad_json", message, "input")
        if not isinstance(body.get("instructions"), str | None):
            message = "`instructions` must be a text"
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "bad_json", message, "instructions")
        return plain_conversation({"instructions": body.get("instructions"), "input": said})

    def governed(self, body: Mapping[str, Any], block: str) -> dict[str, Any]:
        """Return the request with instructions and block at the head of its input.

        Not in `instructions`: every response repeats these to the client.
        """
        instructions, said = body.get("instructions"), body["input"]
        first = [{"role": "system", "content": instructions}] if instructions else []
        rest = [{"role": "user", "content": said}] if isinstance(said, str) else said
        other = {name: value for name, value in body.items() if name != "instructions"}
        return {**other, "input": with_block([*first, *rest], block, part="input_text")}

    def hand_over(self, body: Mapping[str, Any], model: str, request_id: str, text: str) -> bytes:
        """Return a response of one message that says `text`."""
        response = _response(body, model, request_id)
        item = {"type": "message", "id": f"msg_{request_id}", "role": "assistant"}
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        message = {**item, "status": "completed", "content": [part]}
        whole = {**response, "status": "completed", "output": [message], "usage": _NO_USAGE}
        if not body.get("stream"):
            return json.dumps(whole).encode()
        begun = {**response, "status": "in_progress", "output": [], "usage": None}
        of_item = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        events: list[tuple[str, dict[str, Any]]] = [
            ("response.created", {"response": begun}),
            ("response.in_progress", {"response": begun}),
            (
                "response.output_item.added",
                {"output_index": 0, "item": {**item, "status": "in_progress", "content": []}},
            ),
            ("response.content_part.added", {**of_item, "part": {**part, "text": ""}}),
            ("response.output_text.delta", {**of_item, "delta": text, "logprobs": []}),
            ("response.output_text.done", {**of_item, "text": text, "logprobs": []}),
            ("response.content_part.done", {**of_item, "part": part}),
            ("response.output_item.done", {"output_index": 0, "item": message}),
            ("response.completed", {"response": whole}),
        ]
        return "".join(
            f"event: {name}\ndata: {json.dumps({'type': name, 'sequence_number': number, **content})}\n\n"
            for number, (name, content) in enumerate(events)
        ).encode()

    def spoken(self, answer: bytes) -> list[Spoken]:
        """Return the texts and tool calls of a whole response, or what the events of a stream add to them."""
        try:
            if answer.startswith((b"event:", b"data:")):
                texts = [_delta(event) for event in _documents(answer)]
            else:
                texts = [plain_message(item)["content"] for item in json.loads(answer)["output"]]
        except MALFORMED:
            return []
        return [Spoken(0, text) for text in texts if text]

    def tokens(self, content: bytes) -> int:
        """Return what `usage` says. Raises RequestRefused for what is no response."""
        return tokens_said(content, "output")

    def tokens_in_events(self, events: bytes) -> int:
        """Return what the `usage` of the last event says."""
        if b'"total_tokens"' not in events:
            return 0
        found = 0
        for event in _documents(events):
            try:
                found = total_tokens(event["response"]) or found
            except MALFORMED:
                continue
        return found

    def has_ended(self, events: bytes) -> bool:
        """Return whether the response was completed, failed, or ended in another way."""
        return any(events.startswith(last) or b"\n\n" + last in events for last in _LAST_EVENTS)


def _response(body: Mapping[str, Any], model: str, request_id: str) -> dict[str, Any]:
    return {
        "id": f"resp_{request_id}",
        "object": "response",
        "created_at": int(time.time()),
        "model": model,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
    }


def _documents(events: bytes) -> Iterator[dict[str, Any]]:
    for event in events.split(b"\n\n"):
        try:
            document = json.loads(event.partition(b"data: ")[2])
        except MALFORMED:
            continue
        if isinstance(document, dict):
            yield document


def _delta(event: Mapping[str, Any]) -> str:
    """Return what an event adds: text, and of a tool call first its name, then its arguments bit by bit."""
    kind, delta = event.get("type"), event.get("delta")
    if kind in _TEXT_DELTAS and isinstance(delta, str):
        return delta
    item = event.get("item")
    is_call = kind == "response.output_item.added" and isinstance(item, dict) and item.get("type") == "function_call"
    return f"[call {item.get('name')}] " if is_call and isinstance(item, dict) else ""
