"""Questions to oneself: short, and true."""

from __future__ import annotations

import pytest

from promethios.data.causes import TEXT_CAUSES, UNCERTAINTY, TextCauses
from promethios.data.draws import Picks, uniforms
from promethios.data.families import load_families
from promethios.data.scene import Scene
from promethios.data.self_questions import MAX_QUESTIONS, write_self_questions

MAX_WORDS = 20


def asked(causes: TextCauses, key: str, count: int = 200) -> list[tuple[Scene, tuple[str, ...]]]:
    found = []
    for row in uniforms(count, 40, key):
        picks = Picks(row.tolist())
        family = picks.of(load_families())
        scene = Scene(family, picks.of(family.items), picks.of(family.people), causes, 0)
        found.append((scene, write_self_questions(scene, picks)))
    return found


def test_there_are_at_most_two_and_they_are_short() -> None:
    for number, causes in enumerate(TEXT_CAUSES[::7]):
        for _, questions in asked(causes, f"short {number}", 5):
            assert len(questions) <= MAX_QUESTIONS
            assert len(set(questions)) == len(questions)
            for text in questions:
                assert "? " in text and text.endswith(".")
                assert "{" not in text and "<" not in text
                assert len(text.split()) <= MAX_WORDS


@pytest.mark.parametrize("name", UNCERTAINTY)
def test_the_leading_cause_is_asked_first_and_found(name: str) -> None:
    index = UNCERTAINTY.index(name)
    there = {text for _, q in asked(TextCauses(0, (index,), False, False, "none"), "there") for text in q[:1]}
    absent = {text for _, q in asked(TextCauses(0, (), False, False, "none"), "absent", 2000) for text in q}
    assert there
    assert there.isdisjoint(absent)


def test_a_missing_piece_is_named() -> None:
    cause = UNCERTAINTY.index("underspecified_context")
    found = asked(TextCauses(0, (cause,), False, False, "none"), "piece")
    assert any(scene.details[0] in text for scene, questions in found for text in questions)
