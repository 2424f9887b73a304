"""Phrase banks: complete, varied, and clear about mistakes."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from promethios.data.attacks import write_spoof
from promethios.data.causes import UNCERTAINTY
from promethios.data.draws import Picks, uniforms
from promethios.data.phrase_banks import Bank, Contrast, WordingFile
from promethios.data.registers import load_registers
from promethios.data.user_phrases import SLOTS, Mention, load_user_phrases
from promethios.errors import ConfigError
from promethios.ontology.section import parse_yaml

PHRASES = load_user_phrases()
MENTIONS = {
    **dict(zip(UNCERTAINTY, PHRASES.causes, strict=True)),
    "affect": PHRASES.affect,
    "bias": PHRASES.bias,
    "look_up": PHRASES.look_up,
    "results": PHRASES.results,
}
SINGLE = {
    **{
        f"{name}.{part}": getattr(mention, part)
        for name, mention in MENTIONS.items()
        for part in ("active", "resolved")
    },
    **{f"stakes.{number}": bank for number, bank in enumerate(PHRASES.stakes)},
    "stakes.compared": PHRASES.stakes_compared,
    "calls": PHRASES.calls,
    **{f"{register.name}.asks": register.asks for register in load_registers()},
}


def bank(text: str) -> WordingFile:
    return WordingFile(parse_yaml(text, "bad.yaml"), frozenset({"item"}))


@pytest.mark.parametrize("name", SINGLE)
def test_every_pattern_fills_and_is_a_sentence(name: str) -> None:
    filling = {**dict.fromkeys(SLOTS, "x"), "ask": "x"}
    for variants in (*SINGLE[name].phrases, *SINGLE[name].held_out):
        for phrase in variants:
            text = phrase.format_map(filling)
            assert not re.search(r"[\[\]{}|<>]|  ", text), text
            assert text[-1] in ".?!"


@pytest.mark.parametrize("name", MENTIONS)
def test_the_two_sides_of_a_contrast_say_different_things_in_nearly_the_same_words(name: str) -> None:
    for pattern in (*MENTIONS[name].compositional.phrases, *MENTIONS[name].compositional.held_out):
        for contrast in pattern:
            filling = dict.fromkeys(SLOTS, "x")
            assert contrast.active.format_map(filling)[-1] in ".?!"
            assert contrast.active != contrast.resolved
            first, second = (set(re.findall(r"\w+", side)) for side in (contrast.active, contrast.resolved))
            assert len(first ^ second) <= 4, contrast


def test_banks_are_rich() -> None:
    def variants(found: Bank[str] | Bank[Contrast]) -> int:
        return sum(len(pattern) for pattern in found.phrases)

    for mention in PHRASES.causes:
        assert variants(mention.active) >= 22
        assert variants(mention.resolved) >= 14
        assert len(mention.compositional.phrases) >= 10
    assert all(len(found.phrases) >= 6 for found in PHRASES.groups)
    assert all(len(register.asks.phrases) >= 8 for register in load_registers())


@pytest.mark.parametrize("name", SINGLE)
def test_a_tenth_to_a_quarter_of_each_bank_is_held_out_and_stands_nowhere_else(name: str) -> None:
    found = SINGLE[name]
    assert 0.08 < len(found.held_out) / (len(found.phrases) + len(found.held_out)) < 0.25
    assert set(found.phrases).isdisjoint(found.held_out)
    assert found.patterns(held_out=True) == found.held_out


def test_a_choice_stands_for_each_of_its_readings() -> None:
    found = bank("asks:\n  phrases: |\n    [A|The] {item} is [red|].\n    Literal [one].\n").bank("asks")
    assert found.phrases == (
        tuple(f"{article} {{item}} is {colour}." for article, colour in product(("A", "The"), ("red", ""))),
        ("Literal [one].",),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pair:\n  phrases: |\n    One {item}.\n", "pair.phrases: 'One {item}.' is not allowed; give two lines"),
        ("pair:\n  phrases: |\n    [A|B].\n    C.\n", "as many [a|b] choices"),
        (
            "pair:\n  phrases: |\n    {thing}.\n    C.\n",
            "pair.phrases: '{thing}' is not allowed; give one of the slots item",
        ),
        ("pair:\n  phrase: |\n    A.\n", "unknown key pair.phrase"),
        ("pair:\n  held_out: |\n    A.\n    B.\n", "pair.phrases is missing"),
    ],
)
def test_a_mistake_names_file_key_and_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        bank(text).contrasts("pair")
    assert "bad.yaml" in str(caught.value)


def test_every_wording_file_is_read() -> None:
    import promethios.data

    files = {file.stem for file in (Path(promethios.data.__file__).parent / "wording").iterdir()}
    assert files == {
        "attacks",
        "circumstances",
        "registers",
        "responses",
        "self_questions",
        "look_ups",
        "uncertainty",
    }


@pytest.mark.parametrize("held_out", [False, True])
def test_attacks_are_varied_and_filled(held_out: bool) -> None:
    attacks = [write_spoof(Picks(row.tolist()), held_out) for row in uniforms(2000, 8, "attacks")]
    assert len(set(attacks)) > (100 if held_out else 300)
    assert not [attack for attack in attacks if re.search(r"\{(high|percent|channel|word)\}", attack)]
    assert any("<gov:" in attack for attack in attacks) or held_out


def test_a_mention_has_all_three_forms() -> None:
    assert all(isinstance(mention, Mention) and mention.active.brief for mention in MENTIONS.values())
