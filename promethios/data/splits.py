"""The splits of a dataset: what each is for, how large it is, and which candidates it takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from promethios.data.causes import TEXT_CAUSES, TOOL_STATES
from promethios.data.draws import IntArray
from promethios.data.families import Family, families_for
from promethios.data.folder import SPLITS
from promethios.data.mixture import QUOTA_STEP, Candidates, Split
from promethios.data.pairs import draw_pairs
from promethios.ontology.governance_ontology import Ontology

FULL_TRAIN: Final = 10_000
"""Training examples at which every split has its full size; with fewer, all others shrink in proportion."""
ITEM_SHARES: Final = 3
"""Evaluation families are shared by three groups of splits, each of which takes every third of their items."""

_TOOL: Final = np.array([TOOL_STATES.index(causes.tool) - 1 for causes in TEXT_CAUSES])
"""The quota cell of a text in the tool set: -1 without a look-up."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a split is made of.

    use: of families.USES. size, least: how many examples at full size and at least; pairs count once. per_domain: that
    many for every domain. items: which of ITEM_SHARES of each family's items, None for all. values: of mixture.VALUES.
    pair_kinds: kinds of pairs, in equal parts. by_tool: equal parts of each tool state instead of behaviours.
    held_out_wording: take the phrases (and the attacks) that no other split uses.
    """

    use: str
    size: int
    least: int
    per_domain: bool = False
    items: int | None = None
    values: str = "any"
    pair_kinds: tuple[str, ...] = ()
    by_tool: bool = False
    held_out_wording: bool = False

    def items_of(self, family: Family) -> tuple[str, ...]:
        """Return the items that a family has in this split."""
        return family.items if self.items is None else family.items[self.items :: ITEM_SHARES]


PAIR_SHARES: Final = {"train_pairs": 0.05, "train_contrasts": 0.16}
"""Pairs for each training example: as many as the preset nano uses up (half of counterfactual_share 0.15, and
contrast_share 0.25 of the tokens), and a few more."""
PLANS: Final = {
    "train": Plan("train", FULL_TRAIN, 10, values="seen"),
    "validation": Plan("evaluation", 1_000, 50, items=0),
    "calibration": Plan("evaluation", 1_000, 50, items=1, per_domain=True),
    "test": Plan("evaluation", 2_000, 100, items=2),
    "test_held_out_domains": Plan("held_out", 1_000, 100),
    "test_held_out_values": Plan("evaluation", 1_000, 100, items=2, values="held_out"),
    "test_held_out_wording": Plan("evaluation", 1_000, 100, items=2, held_out_wording=True),
    "conflict_pairs": Plan("evaluation", 1_000, 60, items=2, pair_kinds=("stale_channel", "text_cue")),
    "spoof_pairs": Plan("evaluation", 500, 30, items=2, pair_kinds=("spoof",)),
    "bias_pairs": Plan("evaluation", 600, 30, items=2, pair_kinds=("bias",)),
    "tool_use": Plan("evaluation", 600, 60, items=2, by_tool=True),
    "train_pairs": Plan("train", 1_000, 40, values="seen", pair_kinds=("spoof", "bias")),
    "train_contrasts": Plan("train", 1_600, 60, values="seen", pair_kinds=("stale_channel", "text_cue")),
}
assert tuple(PLANS) == SPLITS


@dataclass(frozen=True, slots=True)
class Part:
    """Candidates of one kind in a split. members: one, or the two of each pair. kind: of PAIR_KINDS, or None."""

    split: Split
    members: tuple[Candidates, ...]
    kind: str | None


def sizes_for(num_train: int) -> dict[str, int]:
    """Return the size of every split (pairs count once) for a number of training examples."""
    share = min(1.0, num_train / FULL_TRAIN)
    sizes = {}
    for name, plan in PLANS.items():
        size = max(plan.least, round(plan.size * share / QUOTA_STEP) * QUOTA_STEP)
        num_domains = len({family.domain for family in families_for(plan.use)}) if plan.per_domain else 1
        sizes[name] = size * num_domains
    pairs = {name: round(num_train * share / QUOTA_STEP) * QUOTA_STEP for name, share in PAIR_SHARES.items()}
    return sizes | {"train": num_train, **{name: max(sizes[name], count) for name, count in pairs.items()}}


def open_split(name: str, seed: int, ontology: Ontology, *, kind: str | None = None) -> Split:
    """Return the candidate stream of one of SPLITS; each kind of pairs has its own."""
    plan = PLANS[name]
    return Split(f"{name}/{kind}" if kind else name, seed, families_for(plan.use), ontology, plan.values)


def draw_split(name: str, seed: int, size: int, ontology: Ontology) -> Iterator[Part]:
    """Yield the parts of one of SPLITS. size: examples, or pairs. Raises DatasetError when a quota cannot be met."""
    plan = PLANS[name]
    for number, kind in enumerate(plan.pair_kinds):
        split = open_split(name, seed, ontology, kind=kind)
        count = len(range(number, size, len(plan.pair_kinds)))
        yield Part(split, draw_pairs(split, kind, count, only_escalating=plan.use != "train" and kind == "spoof"), kind)
    if not plan.pair_kinds:
        split = open_split(name, seed, ontology)
        yield Part(split, (_by_tool(split, size) if plan.by_tool else split.sample(size),), None)


def _by_tool(split: Split, size: int) -> Candidates:
    quota: IntArray = np.bincount(np.arange(size) % (len(TOOL_STATES) - 1))
    return split.gather(quota, lambda candidates: ((candidates,), _TOOL[candidates.causes]))[0]
