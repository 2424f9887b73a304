"""Phrase banks: how things are said. YAML files in `wording/`: a new phrase is a data change.

A bank holds patterns, one a line; `{slot}` is filled by whoever speaks, `[a|b]` is a choice. A pattern is read as the
tuple of its variants. A bank of contrasts holds pairs of lines, apart by a blank line: the first line says that a cause
is there, the second that it is not, in words as equal as English allows. `held_out` patterns occur in no split but
the one that is there to measure unseen wording.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import product
from typing import Final, Generic, TypeVar

from promethios.data.draws import Picks
from promethios.ontology.section import Section, parse_yaml

BRIEF_PATTERNS: Final = 8
"""A brief text chooses among this many of a bank's shortest patterns."""

_CHOICE: Final = re.compile(r"\[([^\[\]|]*\|[^\[\]]*)\]")
_SLOT: Final = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two sentences of nearly the same words: a cause that is there, and the same cause that is not."""

    active: str
    resolved: str


T = TypeVar("T", str, Contrast)


@dataclass(frozen=True, slots=True)
class Bank(Generic[T]):
    """Patterns for one thing to say, each a tuple of variants.

    brief: the shortest of `phrases`. held_out: patterns for held-out wording only; none where `phrases` serve both.
    """

    phrases: tuple[tuple[T, ...], ...]
    brief: tuple[tuple[T, ...], ...]
    held_out: tuple[tuple[T, ...], ...]

    def patterns(self, *, held_out: bool = False, brief: bool = False) -> tuple[tuple[T, ...], ...]:
        """Return the patterns to choose from."""
        if held_out and self.held_out:
            return self.held_out
        return self.brief if brief else self.phrases

    def choose(self, picks: Picks, *, held_out: bool = False, brief: bool = False) -> T:
        """Return a variant of one of the patterns."""
        return picks.of(picks.of(self.patterns(held_out=held_out, brief=brief)))


class WordingFile:
    """The banks of one file in `wording/`, by dotted key. slots: what its patterns may hold."""

    def __init__(self, root: Section, slots: frozenset[str]) -> None:
        self._root = root
        self._slots = slots

    def bank(self, key: str) -> Bank[str]:
        """Return a bank of single sentences. Raises ConfigError naming file and key."""
        section = self.section(key).only("phrases", "held_out")
        phrases, held_out = (
            tuple(_variants(line) for line in self._lines(section, name)) for name in ("phrases", "held_out")
        )
        shortest = sorted(phrases, key=lambda variants: len(variants[0].split()))
        return Bank(phrases, tuple(shortest[:BRIEF_PATTERNS]), held_out)

    def contrasts(self, key: str) -> Bank[Contrast]:
        """Return a bank of contrasts. Raises ConfigError naming file and key."""
        section = self.section(key).only("phrases", "held_out")
        phrases, held_out = (self._pairs(section, name) for name in ("phrases", "held_out"))
        shortest = sorted(phrases, key=lambda variants: len(variants[0].active.split()))
        return Bank(phrases, tuple(shortest[:BRIEF_PATTERNS]), held_out)

    def section(self, key: str) -> Section:
        """Return the mapping at a dotted key."""
        section = self._root
        for name in key.split("."):
            section = section.section(name)
        return section

    def names(self) -> tuple[str, ...]:
        """Return the keys at the top of the file."""
        return tuple(self._root)

    def _pairs(self, section: Section, name: str) -> tuple[tuple[Contrast, ...], ...]:
        lines = self._lines(section, name)
        if len(lines) % 2:
            section.fail(name, lines[-1], "two lines for each contrast: the cause is there, the cause is not")
        pairs = []
        for first, second in zip(lines[::2], lines[1::2], strict=True):
            active, resolved = _variants(first), _variants(second)
            if len(active) != len(resolved):
                section.fail(name, first, "as many [a|b] choices in a contrast's first line as in its second")
            pairs.append(tuple(Contrast(*pair) for pair in zip(active, resolved, strict=True)))
        return tuple(pairs)

    def _lines(self, section: Section, name: str) -> list[str]:
        if name == "held_out" and name not in section:
            return []
        lines = [line.strip() for line in section.text(name).splitlines() if line.strip()]
        for line in lines:
            for slot in _SLOT.findall(line):
                if slot not in self._slots:
                    section.fail(name, f"{{{slot}}}", f"one of the slots {', '.join(sorted(self._slots))}")
        return lines


@cache
def open_wording(name: str, slots: frozenset[str]) -> WordingFile:
    """Return the file `wording/NAME.yaml`. Raises ConfigError."""
    file = resources.files("promethios.data") / "wording" / f"{name}.yaml"
    return WordingFile(parse_yaml(file.read_text(encoding="utf-8"), file.name), slots)


def _variants(line: str) -> tuple[str, ...]:
    """Return every reading of a line's [a|b] choices."""
    parts = _CHOICE.split(line)
    options = [part.split("|") if index % 2 else [part] for index, part in enumerate(parts)]
    return tuple("".join(choice) for choice in product(*options))
