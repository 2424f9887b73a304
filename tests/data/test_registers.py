"""Registers and the operators that make one wording into another."""

from __future__ import annotations

import pytest

from promethios.data.registers import Manner, continued, joined, load_registers, sentences

PLAIN = Manner(contracts=False, clips=False, lowers=False, drops_stop=False)


def test_there_are_five_registers() -> None:
    assert {register.name for register in load_registers()} == {"plain", "formal", "casual", "terse", "chatty"}


def test_a_formal_writer_neither_contracts_nor_drops_capitals() -> None:
    formal = next(register for register in load_registers() if register.name == "formal").style
    assert formal.contractions == formal.lower_case == formal.no_stop == formal.clipped == 0


@pytest.mark.parametrize(
    ("manner", "text", "wanted"),
    [
        (PLAIN, "I do not know.", "I do not know."),
        (Manner(True, False, False, False), "I do not know. As clever as I am.", "I don't know. As clever as I am."),
        (Manner(True, False, False, False), "I cannot go, and I would stay.", "I can't go, and I'd stay."),
        (Manner(False, True, False, False), "I could not find it. I am really sad.", "Could not find it. Really sad."),
        (Manner(False, False, True, False), "I am in Rome.", "i am in rome."),
        (Manner(False, False, False, True), "Tell me why.", "Tell me why"),
        (Manner(False, False, False, True), "Tell me why?", "Tell me why?"),
    ],
)
def test_a_manner_changes_the_form_and_not_the_words(manner: Manner, text: str, wanted: str) -> None:
    assert manner.applied(text) == wanted


def test_sentences_are_joined_without_a_capital_in_the_middle() -> None:
    assert joined("I have it.", "and", "There is no rush.") == "I have it, and there is no rush."
    assert joined("There is no rush.", "but", "I am afraid.") == "There is no rush, but I am afraid."
    assert continued("Hi,", "Can you help?") == "Hi, can you help?"
    assert sentences("one. two? three: four") == "One. Two? Three: four"
