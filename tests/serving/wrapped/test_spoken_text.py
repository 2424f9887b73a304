from __future__ import annotations

import json
from typing import Any

from promethios_serving.wrapped.spoken_text import spoken_in
from tests.serving.wrapped.servers import DONE, event

CALL = {"id": "c1", "type": "function", "function": {"name": "wire_money", "arguments": '{"eur": 5}'}}


def spoken(document: Any) -> list[tuple[int, str]]:
    return [(piece.index, piece.text) for piece in spoken_in(json.dumps(document).encode())]


def delta(**content: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": content}]}).encode() + b"\n\n"


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
    assert "".join(piece.text for piece in spoken_in(events)) == 'Now. [call wire_money] {"eur": 5} '


def test_what_is_neither_says_nothing() -> None:
    assert spoken_in(b"no json") == spoken_in(b'{"choices": 3}') == spoken_in(b"data: 3\n\n") == []
