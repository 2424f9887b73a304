from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promethios.telemetry.tags import TAG_TEXT
from promethios_serving.tag_redactor import TagRedactor

FRAGMENTS = [
    "<",
    ">",
    "/",
    "<gov:",
    "</gov:",
    "<GOV:trust=0.7>",
    "gov",
    ":",
    "go",
    "a",
    "\n",
    "x" * 199,
    "x" * 201,
    "<gov:a>",
]
TEXTS = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=12).map("".join)


def redact(pieces: list[str]) -> str:
    redactor = TagRedactor()
    shown = [redactor.feed(piece, final=False) for piece in pieces]
    return "".join(shown) + redactor.feed("", final=True)


def without_tags(text: str) -> str:
    """The whole text at once: removed as long as there is one."""
    while (shown := TAG_TEXT.sub("", text)) != text:
        text = shown
    return text


@given(TEXTS, st.lists(st.integers(0, 400), max_size=12))
def test_any_cutting_of_a_text_gives_what_the_whole_text_gives(text: str, cuts: list[int]) -> None:
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]
    assert redact(pieces) == without_tags(text)


@given(TEXTS)
def test_one_character_at_a_time_gives_what_the_whole_text_gives(text: str) -> None:
    assert redact(list(text)) == without_tags(text)


def test_text_without_a_beginning_tag_is_shown_at_once() -> None:
    assert TagRedactor().feed("a < b and c", final=False) == "a < b and c"


def test_only_the_beginning_of_a_tag_is_held_back() -> None:
    redactor = TagRedactor()
    assert redactor.feed("trust <gov:tru", final=False) == "trust "
    assert redactor.feed("st=0.7> me", final=False) == " me"


def test_an_unfinished_tag_is_shown_when_the_text_ends() -> None:
    assert redact(["see <gov:trust"]) == "see <gov:trust"


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_tag_around_a_tag_does_not_survive(size: int) -> None:
    text = "a <gov:<gov:a=1>trust=1> b <gov:<gov:<gov:x=2>y=3>trust=0.5> c"
    redactor = TagRedactor()
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    shown = "".join(redactor.feed(piece, final=False) for piece in pieces) + redactor.feed("", final=True)
    assert shown == "a  b  c"
