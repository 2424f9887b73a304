from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promethios_serving.reviews.conversation import ROLES, plain_conversation

CALL = {"function": {"name": "dose", "arguments": '{"drug": "ibuprofen"}'}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "text", "type", "tool_calls", "function", "name", "output", "input"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
BODIES = st.dictionaries(st.sampled_from(["messages", "input", "prompt", "system", "instructions"]), JSON, max_size=3)


@pytest.mark.parametrize(
    ("body", "conversation"),
    [
        ({"prompt": "Hello"}, [("user", "Hello")]),
        ({"prompt": ["Hello"]}, [("user", "Hello")]),
        ({"prompt": [[1, 2]]}, [("user", "[token ids: 1 2]")]),
        ({"input": "Hello", "instructions": "Be brief."}, [("system", "Be brief."), ("user", "Hello")]),
        (
            {"system": [{"type": "text", "text": "Be brief."}], "messages": [{"role": "user", "content": "Hello"}]},
            [("system", "Be brief."), ("user", "Hello")],
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image_url"}]}]},
            [("user", "See\n[image_url]")],
        ),
        (
            {"messages": [{"role": "assistant", "content": None, "tool_calls": [CALL]}]},
            [("assistant", '[call dose: {"drug": "ibuprofen"}]')],
        ),
        (
            {"input": [{"type": "function_call", "name": "dose", "arguments": "{}"}]},
            [("assistant", "[call dose: {}]")],
        ),
        (
            {"input": [{"type": "function_call_output", "output": "400 mg"}]},
            [("tool", "400 mg")],
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "400 mg"}]}]},
            [("user", "400 mg")],
        ),
        ({"messages": [{"role": "function", "content": "x"}]}, [("user", "x")]),
    ],
)
def test_a_conversation_of_any_route_becomes_plain_text(
    body: dict[str, Any], conversation: list[tuple[str, str]]
) -> None:
    assert [(message["role"], message["content"]) for message in plain_conversation(body)] == conversation


@given(BODIES)
def test_no_body_however_malformed_is_refused_here(body: dict[str, Any]) -> None:
    for message in plain_conversation(body):
        assert message["role"] in ROLES
        assert isinstance(message["content"], str)
