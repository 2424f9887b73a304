"""Scenario families: complete, apart by split, and clear about mistakes."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from promethios.data.families import families_for, load_families, parse_families
from promethios.data.generate import items_of
from promethios.errors import ConfigError
from promethios.ontology.governance_ontology import Ontology

HELD_OUT = {"insurance", "public_services"}


def general() -> str:
    return (resources.files("promethios.data") / "scenarios" / "general.yaml").read_text(encoding="utf-8")


def test_every_domain_of_the_ontology_has_families_and_the_other_way_round(ontology: Ontology) -> None:
    assert {family.domain for family in load_families()} == set(ontology.domains)


def test_there_are_enough_families() -> None:
    for domain in {family.domain for family in load_families()}:
        families = [family for family in load_families() if family.domain == domain]
        assert len(families) >= (4 if domain in HELD_OUT else 8)


def test_held_out_domains_are_in_no_other_split() -> None:
    assert {family.domain for family in families_for("held_out")} == HELD_OUT
    assert HELD_OUT.isdisjoint(family.domain for use in ("train", "evaluation") for family in families_for(use))


def test_validation_calibration_and_test_share_families_and_no_item() -> None:
    for family in families_for("evaluation"):
        shares = [items_of(family, split) for split in ("validation", "calibration", "test")]
        assert all(shares)
        assert sorted(item for share in shares for item in share) == sorted(family.items)


def test_no_phrase_holds_a_digit() -> None:
    for file in (resources.files("promethios.data") / "scenarios").iterdir():
        assert not re.search(r"\d", file.read_text(encoding="utf-8")), file.name


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            ("  travel:\n    use: train", "  travel:\n    use: training"),
            "families.travel.use: 'training' is unknown; did you",
        ),
        (("    topic: cooking <item>\n", ""), "families.cooking.topic is missing"),
        (("    topic: cooking", "    title: cooking"), "unknown key families.cooking.title"),
        (
            ("growing <item>", "growing <thing>"),
            "families.gardening.topic: '<thing>' is not allowed; give one of the slots",
        ),
        (("growing <item>", "growing {item}"), "families.gardening.topic"),
        (("goals: save money | save time", "goals: save money"), "families.travel.goals"),
        (("goals: save money | save time", "goals: a | b | c"), "exactly two phrases"),
        (("my friend (they)", "my friend"), "people: 'my friend' is not allowed; give a person and a pronoun"),
        (("people:", "people"), "bad.yaml"),
    ],
)
def test_a_mistake_names_file_key_and_what_is_allowed(spoil: tuple[str, str], message: str) -> None:
    text = general().replace(*spoil)
    assert text != general()
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        parse_families(text, "general", "bad.yaml")
    assert "bad.yaml" in str(caught.value)
