"""Registers: how people write, and the deterministic operators that make one wording into another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Final

from promethios.data.draws import Picks
from promethios.data.phrase_banks import Bank, open_wording

_CONTRACTIONS: Final = {
    "I am": "I'm", "cannot": "can't", "do not": "don't", "does not": "doesn't", "did not": "didn't", "is not": "isn't",
    "are not": "aren't", "was not": "wasn't", "has not": "hasn't", "have not": "haven't", "will not": "won't",
    "would not": "wouldn't", "could not": "couldn't", "should not": "shouldn't", "I would": "I'd", "I will": "I'll",
    "I have been": "I've been", "I have made": "I've made", "I have already": "I've already", "that is": "that's",
    "There is": "There's", "there is": "there's",
}  # fmt: skip
# "as I am." keeps its full form: nobody contracts before a pause.
_CONTRACTIBLE: Final = re.compile(rf"\b({'|'.join(_CONTRACTIONS)})\b(?= \w)")
_SENTENCE_START: Final = re.compile(r"(?:^|(?<=[.!?] ))[a-z]")
_CLIPPED: Final = re.compile(
    r"(?:^|(?<=[.!?] ))I (?:am (?=[a-z]+ing\b|not\b|really\b|sure\b)|"
    r"(?=(?:could|cannot|did|do|have|need|know|want|forgot|lost|skipped|kept|got|saved|found|took|only)\b))"
)
_KEEPS_CAPITAL: Final = re.compile(r"I\b")


@dataclass(frozen=True, slots=True)
class Style:
    """How often a register's habits show, each in [0, 1]; `wording/registers.yaml` explains them."""

    contractions: float
    joins: float
    fillers: float
    lower_case: float
    no_stop: float
    clipped: float
    greets: float
    thanks: float


@dataclass(frozen=True, slots=True)
class Register:
    """A way of writing. weight: its share among registers. asks: frames with {ask}, an indirect question."""

    name: str
    weight: int
    style: Style
    asks: Bank[str]
    greetings: Bank[str]
    thanks: Bank[str]
    fillers: Bank[str]


@dataclass(frozen=True, slots=True)
class Manner:
    """The habits of one writer, applied to a whole text."""

    contracts: bool
    clips: bool
    lowers: bool
    drops_stop: bool

    def applied(self, text: str) -> str:
        """Return the text as this writer puts it."""
        if self.clips:
            text = sentences(_CLIPPED.sub("", text))
        if self.contracts:
            text = _CONTRACTIBLE.sub(lambda match: _CONTRACTIONS[match.group()], text)
        if self.lowers:
            text = text.lower()
        return text.removesuffix(".") if self.drops_stop else text


@cache
def load_registers() -> tuple[Register, ...]:
    """Return every register, each as often as its weight says. Raises ConfigError."""
    file = open_wording("registers", frozenset({"ask"}))
    registers = []
    for name in file.names():
        section = file.section(name).only("weight", "style", "asks", "greetings", "thanks", "fillers")
        style = section.section("style").only(*Style.__dataclass_fields__)
        register = Register(
            name=name,
            weight=section.integer("weight", 1, 100),
            style=Style(**{habit: style.number(habit, 1.0) for habit in Style.__dataclass_fields__}),
            asks=file.bank(f"{name}.asks"),
            greetings=file.bank(f"{name}.greetings"),
            thanks=file.bank(f"{name}.thanks"),
            fillers=file.bank(f"{name}.fillers"),
        )
        registers += [register] * register.weight
    return tuple(registers)


def draw_manner(style: Style, picks: Picks) -> Manner:
    """Return one writer's habits."""
    return Manner(
        contracts=picks.chance(style.contractions),
        clips=picks.chance(style.clipped),
        lowers=picks.chance(style.lower_case),
        drops_stop=picks.chance(style.no_stop),
    )


def sentences(text: str) -> str:
    """Return text with a capital at the start of every sentence."""
    return _SENTENCE_START.sub(lambda match: match.group().upper(), text)


def continued(opening: str, text: str) -> str:
    """Return an opening that ends in a comma, a colon or a word, and a sentence that goes on from there."""
    return f"{opening} {text if _KEEPS_CAPITAL.match(text) else text[:1].lower() + text[1:]}"


def joined(first: str, link: str, second: str) -> str:
    """Return two sentences as one: "A, and b."."""
    return continued(f"{first.removesuffix('.')}, {link}", second)
