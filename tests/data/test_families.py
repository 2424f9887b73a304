"""Scenario families: complete, apart by split, and clear about mistakes."""

from __future__ import annotations

import re
from collections import Counter
from importlib import resources

import pytest

from promethios.data.causes import TextCauses
from promethios.data.draws import Picks, uniforms
from promethios.data.families import families_for, load_families, parse_families
from promethios.data.prompts import write_request
from promethios.data.scene import Scene
from promethios.data.splits import PLANS
from promethios.errors import ConfigError
from promethios.ontology.governance_ontology import Ontology

HELD_OUT = {"insurance", "public_services"}
LEAST_TEMPLATES = 8
TEMPLATE_DRAWS, COLUMNS = 24, 256


def general() -> str:
    return (resources.files("promethios.data") / "scenarios" / "general.yaml").read_text(encoding="utf-8")


def test_every_domain_of_the_ontology_has_families_and_the_other_way_round(ontology: Ontology) -> None:
    assert {family.domain for family in load_families()} == set(ontology.domains)


def test_there_are_enough_families() -> None:
    for domain in {family.domain for family in load_families()}:
        families = [family for family in load_families() if family.domain == domain]
        uses = Counter(family.use for family in families)
        assert uses["held_out"] >= 25 if domain in HELD_OUT else uses["train"] >= 19 and uses["evaluation"] >= 6


def test_a_family_is_asked_about_in_many_surface_templates() -> None:
    for number, family in enumerate(load_families()):
        templates = set()
        for row in uniforms(TEMPLATE_DRAWS, COLUMNS, "templates", number):
            picks = Picks(row.tolist())
            causes = TextCauses(difficulty=0, uncertainty=(), affect=False, bias=False, tool="none")
            scene = Scene(family, picks.of(family.items), picks.of(family.people), causes, 0)
            templates.add(write_request(scene, picks).template)
        assert len(templates) >= LEAST_TEMPLATES, family.id


def test_held_out_domains_are_in_no_other_split() -> None:
    assert {family.domain for family in families_for("held_out")} == HELD_OUT
    assert HELD_OUT.isdisjoint(family.domain for use in ("train", "evaluation") for family in families_for(use))


def test_validation_calibration_and_test_share_families_and_no_item() -> None:
    for family in families_for("evaluation"):
        shares = [PLANS[split].items_of(family) for split in ("validation", "calibration", "test")]
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
        (("goals: save money | save time", "goals: a | b | c"), "exactly two different phrases"),
        (
            ("values: Monday | Wednesday | Friday | Sunday", "values: Monday | Friday"),
            "at least four different phrases",
        ),
        (("values: Monday | Wednesday", "values: Monday | Monday"), "families.travel.values"),
        (
            ("claim: salt", "claim: 2 spoons of salt"),
            "families.cooking.claim: '2' is not allowed; give numbers in words",
        ),
        (("    quantity: the price of butter\n", ""), "families.cooking.quantity is missing"),
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
