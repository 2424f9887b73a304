from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promethios_serving.wrapped.chat_completions import ChatCompletions
from promethios_serving.wrapped.event_relay import StreamCut, relayed_events

DONE = b"data: [DONE]\n\n"


def relayed(pieces: list[bytes], error: Exception | None = None) -> tuple[bytes, StreamCut | None]:
    async def arriving() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
        if error is not None:
            raise error

    async def run() -> tuple[bytes, StreamCut | None]:
        out = b""
        try:
            content: Any = SimpleNamespace(iter_any=arriving)
            async for whole in relayed_events(content, ChatCompletions().has_ended):
                assert whole.endswith(b"\n\n")
                out += whole
        except StreamCut as cut:
            return out, cut
        return out, None

    return asyncio.run(run())


@given(st.lists(st.text("ab:{}\u00e9 ", max_size=8), max_size=5), st.lists(st.integers(0, 200)), st.booleans())
def test_any_cutting_gives_the_same_events(texts: list[str], cuts: list[int], carriage_returns: bool) -> None:
    whole = b"".join(b"data: " + text.encode() + b"\n\n" for text in texts) + DONE
    sent = whole.replace(b"\n", b"\r\n") if carriage_returns else whole
    places = sorted({0, len(sent), *(min(cut, len(sent)) for cut in cuts)})
    pieces = [sent[a:b] for a, b in itertools.pairwise(places)]
    assert relayed(pieces) == (whole, None)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (None, "upstream_cut_off"),
        (aiohttp.ClientPayloadError(), "upstream_cut_off"),
        (TimeoutError(), "upstream_timeout"),
        (aiohttp.SocketTimeoutError(), "upstream_timeout"),
        (ConnectionResetError(), "upstream_cut_off"),
    ],
)
def test_a_stream_without_its_end_is_cut_and_half_an_event_is_not_passed_on(
    error: Exception | None, reason: str
) -> None:
    out, cut = relayed([b"data: one\n\nda", b"ta: tw"], error)
    assert out == b"data: one\n\n"
    assert cut is not None and cut.refusal.reason == reason


def test_an_answer_that_speaks_of_the_end_does_not_end_the_stream() -> None:
    _, cut = relayed([b'data: {"content": "data: [DONE]"}\n\n'])
    assert cut is not None


def test_a_line_may_have_no_space_before_its_data() -> None:
    assert relayed([b'data:{"a": "data:"}\n\nda', b"ta:[DONE]\n\n"]) == (b'data: {"a": "data:"}\n\n' + DONE, None)


def test_what_breaks_after_the_end_is_no_cut() -> None:
    assert relayed([DONE], aiohttp.ClientPayloadError()) == (DONE, None)


def test_an_event_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promethios_serving.wrapped.event_relay._MAX_EVENT_BYTES", 100)
    out, cut = relayed([b"x" * 60, b"x" * 60, DONE])
    assert out == b"" and cut is not None
