"""Scenario families: what requests are about. One YAML file a domain in `scenarios/`: a new family is a data change."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from promethios.ontology.section import Section, parse_yaml

USES: Final = ("train", "evaluation", "held_out")
"""Which splits a family is for; the domains of held_out families are in no other split."""

SLOTS: Final = ("<item>", "<person>")
_KEYS: Final = (
    "use", "topic", "context", "asks", "items", "details", "datum", "values", "quantity", "claim", "source", "opinion",
    "measurable", "unknown", "goals", "lookup", "advice", "limit", "meanwhile",
)  # fmt: skip
_COUNTS: Final = {2: "two", 3: "three", 4: "four", 6: "six"}
_PERSON: Final = re.compile(r"(.+) \((he|she|they)\)")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody a request is about: "my father", and the pronoun for a second mention."""

    name: str
    pronoun: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The phrases of one scenario family; `promethios/data/README.md` explains each. They may hold SLOTS."""

    id: str
    domain: str
    use: str
    people: tuple[Person, ...]
    medium_stakes: tuple[str, ...]
    high_stakes: tuple[str, ...]
    topic: str
    context: tuple[str, ...]
    asks: tuple[str, ...]
    items: tuple[str, ...]
    details: tuple[str, ...]
    datum: str
    values: tuple[str, ...]
    quantity: str
    claim: str
    source: str
    opinion: str
    measurable: str
    unknown: str
    goals: tuple[str, str]
    lookup: str
    advice: tuple[str, ...]
    limit: str
    meanwhile: str


@cache
def load_families() -> tuple[Family, ...]:
    """Return every family, in the order of the files. Raises ConfigError naming file, key and what is allowed."""
    folder = resources.files("promethios.data") / "scenarios"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return tuple(
        family
        for file in files
        for family in parse_families(file.read_text(encoding="utf-8"), file.name.removesuffix(".yaml"), file.name)
    )


def families_for(use: str) -> tuple[Family, ...]:
    """Return the families of one of USES."""
    return tuple(family for family in load_families() if family.use == use)


def parse_families(text: str, domain: str, file: str) -> list[Family]:
    """Parse one domain's YAML; `file` is its name in messages. Raises ConfigError."""
    root = parse_yaml(text, file).only("people", "stakes", "families")
    stakes = root.section("stakes").only("medium", "high")
    people = tuple(_person(root, phrase) for phrase in _phrases(root, "people"))
    medium, high = _phrases(stakes, "medium"), _phrases(stakes, "high")
    return [
        _family(section.only(*_KEYS), f"{domain}/{name}", domain, people, medium, high)
        for name, section in root.sections("families").items()
    ]


def _family(
    section: Section,
    family_id: str,
    domain: str,
    people: tuple[Person, ...],
    medium_stakes: tuple[str, ...],
    high_stakes: tuple[str, ...],
) -> Family:
    goals = _phrases(section, "goals", least=2, most=2)
    return Family(
        id=family_id,
        domain=domain,
        use=section.one_of("use", USES),
        people=people,
        medium_stakes=medium_stakes,
        high_stakes=high_stakes,
        topic=_phrase(section, "topic"),
        context=_phrases(section, "context", least=3),
        asks=_phrases(section, "asks", least=4),
        items=_phrases(section, "items", least=6),
        details=_phrases(section, "details", least=4, most=4),
        datum=_phrase(section, "datum"),
        values=_phrases(section, "values", least=4),
        quantity=_phrase(section, "quantity"),
        claim=_phrase(section, "claim"),
        source=_phrase(section, "source"),
        opinion=_phrase(section, "opinion"),
        measurable=_phrase(section, "measurable"),
        unknown=_phrase(section, "unknown"),
        goals=(goals[0], goals[1]),
        lookup=_phrase(section, "lookup"),
        advice=_phrases(section, "advice"),
        limit=_phrase(section, "limit"),
        meanwhile=_phrase(section, "meanwhile"),
    )


def _phrase(section: Section, name: str) -> str:
    text = section.text(name)
    if digit := re.search(r"\d", text):
        section.fail(name, digit.group(), "numbers in words; digits are for years and telemetry")
    for slot in re.findall(r"<[^>]*>?|[{}]", text):
        if slot not in SLOTS:
            section.fail(name, slot, f"one of the slots {', '.join(SLOTS)}")
    return text


def _phrases(section: Section, name: str, least: int = 2, most: int | None = None) -> tuple[str, ...]:
    phrases = tuple(phrase.strip() for phrase in _phrase(section, name).split("|"))
    if len(set(phrases)) < max(least, len(phrases)) or not all(phrases) or (most is not None and len(phrases) > most):
        wanted = "exactly" if least == most else "at least"
        section.fail(name, section.text(name), f"{wanted} {_COUNTS[least]} different phrases, separated by |")
    return phrases


def _person(section: Section, phrase: str) -> Person:
    match = _PERSON.fullmatch(phrase)
    if match is None:
        section.fail("people", phrase, 'a person and a pronoun, as "my father (he)"; he, she or they')
    return Person(match.group(1), match.group(2))
