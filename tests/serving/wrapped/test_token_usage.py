from __future__ import annotations

import json

import pytest

from promethios_serving.openai_errors import RequestRefused
from promethios_serving.wrapped.token_usage import estimated_tokens, tokens_in_events, tokens_of
from tests.serving.wrapped.servers import DONE, completion, event

USAGE = b'data: {"choices": [], "usage": {"total_tokens": 50010}}\n\n'


def test_a_completion_says_what_it_took_or_nothing() -> None:
    assert tokens_of(json.dumps(completion()).encode()) == 50
    assert tokens_of(b'{"choices": []}') == 0


@pytest.mark.parametrize("content", [b"no json", b"[]", b'{"choices": 3}', b'{"choices": [], "usage": 7}'])
def test_what_is_no_completion_is_refused(content: bytes) -> None:
    with pytest.raises(RequestRefused):
        tokens_of(content)


def test_a_stream_says_it_in_one_of_its_events() -> None:
    assert tokens_in_events(event("Water ") + USAGE + DONE) == 50010
    assert tokens_in_events(event('"total_tokens"') + DONE) == 0
    assert tokens_in_events(b'data: {"usage": {"total_tokens": null}}\n\n') == 0


def test_otherwise_four_bytes_are_a_token() -> None:
    assert estimated_tokens(b"x" * 30, b"y" * 10) == 10
