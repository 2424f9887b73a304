from __future__ import annotations

import itertools

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


@given(TEXTS, st.lists(st.integers(0, 400), max_size=12))
def test_any_cutting_of_a_text_gives_what_the_whole_text_gives(text: str, cuts: list[int]) -> None:
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]
    assert redact(pieces) == TAG_TEXT.sub("", text)


@given(TEXTS)
def test_one_character_at_a_time_gives_what_the_whole_text_gives(text: str) -> None:
    assert redact(list(text)) == TAG_TEXT.sub("", text)


def test_text_without_a_beginning_tag_is_shown_at_once() -> None:
    assert TagRedactor().feed("a < b and c", final=False) == "a < b and c"


def test_only_the_beginning_of_a_tag_is_held_back() -> None:
    redactor = TagRedactor()
    assert redactor.feed("trust <gov:tru", final=False) == "trust "
    assert redactor.feed("st=0.7> me", final=False) == " me"


def test_an_unfinished_tag_is_shown_when_the_text_ends() -> None:
    assert redact(["see <gov:trust"]) == "see <gov:trust"
