from __future__ import annotations

import json
from typing import Any

import pytest

from promethios_serving.openai_errors import RequestRefused
from promethios_serving.wrapped.chat_completions import ChatCompletions
from promethios_serving.wrapped.interface import estimated_tokens
from tests.serving.wrapped.servers import DONE, completion, event

CHAT = ChatCompletions()
USAGE = b'data: {"choices": [], "usage": {"total_tokens": 50010}}\n\n'
CALL = {"id": "c1", "type": "function", "function": {"name": "wire_money", "arguments": '{"eur": 5}'}}


def spoken(document: Any) -> list[tuple[int, str]]:
    return [(piece.index, piece.text) for piece in CHAT.spoken(json.dumps(document).encode())]


def delta(**content: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": content}]}).encode() + b"\n\n"


def test_a_completion_says_what_it_took_or_nothing() -> None:
    assert CHAT.tokens(json.dumps(completion()).encode()) == 50
    assert CHAT.tokens(b'{"choices": []}') == 0


@pytest.mark.parametrize("content", [b"no json", b"[]", b'{"choices": 3}', b'{"choices": [], "usage": 7}'])
def test_what_is_no_completion_is_refused(content: bytes) -> None:
    with pytest.raises(RequestRefused):
        CHAT.tokens(content)


def test_a_stream_says_it_in_one_of_its_events() -> None:
    assert CHAT.tokens_in_events(event("Water ") + USAGE + DONE) == 50010
    assert CHAT.tokens_in_events(event('"total_tokens"') + DONE) == 0
    assert CHAT.tokens_in_events(b'data: {"usage": {"total_tokens": null}}\n\n') == 0


def test_otherwise_four_bytes_are_a_token() -> None:
    assert estimated_tokens(b"x" * 30, b"y" * 10) == 10


def test_text_tool_calls_and_parts_are_what_was_said() -> None:
    messages: list[dict[str, Any]] = [
        {"content": "Water."},
        {"content": None, "tool_calls": [CALL]},
        {"content": [{"type": "text", "text": "In parts."}]},
        {"content": None},
    ]
    document = {"choices": [{"index": i, "message": message} for i, message in enumerate(messages)]}
    assert spoken(document) == [(0, "Water."), (1, '[call wire_money: {"eur": 5}]'), (2, "In parts.")]


def test_a_streamed_tool_call_is_heard_bit_by_bit() -> None:
    events = event("Now. ") + delta(content=None, tool_calls=[CALL | {"index": 0}])
    events += delta(tool_calls=[{"index": 0, "function": {"arguments": " "}}]) + delta(content=[]) + DONE
    assert "".join(piece.text for piece in CHAT.spoken(events)) == 'Now. [call wire_money] {"eur": 5} '


def test_what_is_neither_says_nothing() -> None:
    assert CHAT.spoken(b"no json") == CHAT.spoken(b'{"choices": 3}') == CHAT.spoken(b"data: 3\n\n") == []
