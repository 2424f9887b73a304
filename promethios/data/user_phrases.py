"""The phrase banks of the user's side: `wording/uncertainty.yaml`, `circumstances.yaml` and `look_ups.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

from promethios.data.causes import UNCERTAINTY
from promethios.data.phrase_banks import Bank, Contrast, WordingFile, open_wording
from promethios.ontology.governance_ontology import load_ontology

LEVELS: Final = ("low", "medium", "high")
"""Stakes, in the order of TextCauses.difficulty."""
SLOTS: Final = frozenset((
    "unknown", "claim", "source", "source_noun", "opinion", "measurable", "detail", "d1", "d2", "d3", "d4", "datum",
    "v1", "v2", "quantity", "a", "b", "lookup", "early", "late", "other", "group", "level", "decoy", "calm",
    "distressed",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mention:
    """How a cause is said to be there, said not to be there, and said either way in the same words."""

    active: Bank[str]
    resolved: Bank[str]
    compositional: Bank[Contrast]


@dataclass(frozen=True, slots=True)
class UserPhrases:
    """causes: in the order of UNCERTAINTY; stakes, levels: of LEVELS; groups: of the ontology's bias categories.

    results: of look-ups, where an active one cannot be relied on.
    """

    causes: tuple[Mention, ...]
    stakes: tuple[Bank[str], ...]
    stakes_compared: Bank[str]
    levels: tuple[Bank[str], ...]
    affect: Mention
    calm: Bank[str]
    distressed: Bank[str]
    bias: Mention
    groups: tuple[Bank[str], ...]
    others: Bank[str]
    look_up: Mention
    calls: Bank[str]
    results: Mention


@cache
def load_user_phrases() -> UserPhrases:
    """Return the banks. Raises ConfigError naming file, key and what is allowed."""
    uncertainty = open_wording("uncertainty", SLOTS)
    circumstances, look_ups = open_wording("circumstances", SLOTS), open_wording("look_ups", SLOTS)
    return UserPhrases(
        causes=tuple(_mention(uncertainty, f"{cause}.") for cause in UNCERTAINTY),
        stakes=tuple(circumstances.bank(f"stakes.{level}") for level in LEVELS),
        stakes_compared=circumstances.bank("stakes.compared"),
        levels=tuple(circumstances.bank(f"stakes.level_{level}") for level in LEVELS),
        affect=_mention(circumstances, "affect."),
        calm=circumstances.bank("affect.calm_words"),
        distressed=circumstances.bank("affect.distressed_words"),
        bias=_mention(circumstances, "bias."),
        groups=tuple(circumstances.bank(f"groups.{category.id}") for category in load_ontology().bias_categories),
        others=circumstances.bank("others"),
        look_up=_mention(look_ups, "look_up."),
        calls=look_ups.bank("calls"),
        results=_mention(look_ups, "results."),
    )


def _mention(file: WordingFile, place: str) -> Mention:
    return Mention(file.bank(f"{place}active"), file.bank(f"{place}resolved"), file.contrasts(f"{place}compositional"))
