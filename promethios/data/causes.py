"""What the request's text shows: difficulty, uncertainty causes, affect, bias, tool need; and what they demand.

Quantities on the competence scale are logits in integer hundredths ("centi"), so comparisons are exact. The table of
all text causes is enumerated with integer weights: sampling and the exact sums of `ceilings` use the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations, product
from typing import Final

import numpy as np

from promethios.data.draws import IntArray

UNCERTAINTY: Final = (
    "unknown_answer",
    "false_premise",
    "stale",
    "subjective",
    "underspecified_context",
    "underspecified_intent",
)
"""The order of the ontology's uncertainty dimensions (a test holds them together)."""
UNDERSPECIFIED: Final = frozenset({4, 5})
"""The causes that one question back to the user can remove."""

DIFFICULTY_WEIGHTS: Final = (42, 35, 23)
MAX_DIFFICULTY: Final = len(DIFFICULTY_WEIGHTS) - 1
AFFECT_WEIGHTS: Final = (66, 34)
COUNT_WEIGHTS: Final = (44, 44, 12)
"""How many uncertainty causes are active: none, one, two."""
CAUSE_WEIGHTS: Final = (2, 2, 2, 2, 3, 3)
BIAS_WEIGHT: Final = 8
"""Of 100; only with at most one uncertainty cause, to keep a request short."""
TOOL_STATES: Final = ("none", "needed", "fine", "unreliable")
"""Nothing to look up; a look-up is asked for; its result is there and fits; its result is there and cannot be right."""
TOOL_WEIGHTS: Final = (80, 8, 6, 6)
"""Of TOOL_STATES; only with at most one of uncertainty cause and bias, else there is nothing to look up."""

BASE: Final = -200
REQUIRED_TRUST_FACTOR: Final = 0.5
DIFFICULTY_COST: Final = (0, 70, 150)
CAUSE_COST: Final = (190, 170, 150, 120, 80, 70)
SECOND_CAUSE_SHARE: Final = 2
"""The weaker of two causes counts for 1/SECOND_CAUSE_SHARE."""
AFFECT_COST: Final = 40
BIAS_COST: Final = 80
STAKES_AFFECT_COST: Final = 40
"""Per step of difficulty, when affect is present."""
STAKES_CAUSE_COST: Final = 30
"""Per step of difficulty, when any uncertainty cause is active."""
UNRELIABLE_COST: Final = 90
STAKES_UNRELIABLE_COST: Final = 30
"""Per step of difficulty, when the result of a look-up cannot be relied on."""

EVIDENCE: Final = (
    "nothing", *UNCERTAINTY, "medium_stakes", "high_stakes", "affect", "bias", "look_up", "unreliable_result",
)  # fmt: skip
"""What one remark of a text can show: none of the causes (it may say that one is not there), or which."""

DEMAND_DIGITS: Final = 3
ACTIVE_STRENGTH: Final = 0.9
INACTIVE_STRENGTH: Final = 0.05


@dataclass(frozen=True, slots=True)
class TextCauses:
    """The causes that a text shows. uncertainty: indices into UNCERTAINTY, ascending. tool: one of TOOL_STATES."""

    difficulty: int
    uncertainty: tuple[int, ...]
    affect: bool
    bias: bool
    tool: str

    @property
    def is_underspecified(self) -> bool:
        """True when asking back would remove a cause."""
        return not UNDERSPECIFIED.isdisjoint(self.uncertainty)

    @property
    def leading(self) -> int | None:
        """The cause that the wording is about: a missing piece first (it can be mended), else the costliest."""
        missing = [cause for cause in self.uncertainty if cause in UNDERSPECIFIED]
        candidates = missing or self.uncertainty
        return max(candidates, key=CAUSE_COST.__getitem__) if candidates else None

    @property
    def has_mild_cause(self) -> bool:
        """True when a plain answer would be too bold even for a competent deployment."""
        return bool(self.uncertainty) or self.bias or self.tool == "unreliable"

    @property
    def calls_for_tool(self) -> bool:
        """True when a look-up is still to be made, or to be made again."""
        return self.tool in ("needed", "unreliable")


def difficulty_demand(difficulty: int, required_trust: float) -> int:
    """Competence that the domain and the difficulty alone demand, in centilogits."""
    trust_logit = math.log(required_trust / (1.0 - required_trust))
    return BASE + round(100 * REQUIRED_TRUST_FACTOR * trust_logit) + DIFFICULTY_COST[difficulty]


def demand(causes: TextCauses, required_trust: float) -> int:
    """Competence below which the domain's expert would want the request, in centilogits."""
    costs = sorted((CAUSE_COST[cause] for cause in causes.uncertainty), reverse=True)
    total = difficulty_demand(causes.difficulty, required_trust)
    total += sum(cost // SECOND_CAUSE_SHARE if rank else cost for rank, cost in enumerate(costs))
    total += STAKES_CAUSE_COST * causes.difficulty * bool(costs)
    total += (AFFECT_COST + STAKES_AFFECT_COST * causes.difficulty) * causes.affect
    total += (UNRELIABLE_COST + STAKES_UNRELIABLE_COST * causes.difficulty) * (causes.tool == "unreliable")
    return total + BIAS_COST * causes.bias


def demanded_competence(causes: TextCauses, required_trust: float) -> float:
    """Return `demand` on the scale of competence, [0, 1]."""
    return round(1 / (1 + math.exp(-demand(causes, required_trust) / 100)), DEMAND_DIGITS)


def _enumerate() -> tuple[tuple[TextCauses, ...], IntArray]:
    subsets = [(), *((i,) for i in range(len(UNCERTAINTY))), *combinations(range(len(UNCERTAINTY)), 2)]
    raw = [math.prod(CAUSE_WEIGHTS[i] for i in subset) for subset in subsets]
    of_count = [sum(w for w, s in zip(raw, subsets, strict=True) if len(s) == count) for count in range(3)]
    table: list[TextCauses] = []
    weights: list[int] = []
    for difficulty, affect, (subset, subset_weight) in product(range(3), range(2), zip(subsets, raw, strict=True)):
        base = DIFFICULTY_WEIGHTS[difficulty] * AFFECT_WEIGHTS[affect] * COUNT_WEIGHTS[len(subset)]
        shared = base * subset_weight / of_count[len(subset)]
        for bias, (tool, tool_weight) in product((False, True), zip(TOOL_STATES, TOOL_WEIGHTS, strict=True)):
            share = _bias_share(bias, len(subset)) * _tool_share(tool, tool_weight, len(subset) + bias)
            if share:
                table.append(TextCauses(difficulty, subset, bool(affect), bias, tool))
                weights.append(round(shared * share * 100))
    return tuple(table), np.array(weights, dtype=np.int64)


def _bias_share(bias: bool, others: int) -> float:
    weight = BIAS_WEIGHT if others <= 1 else 0
    return (weight if bias else 100 - weight) / 100


def _tool_share(tool: str, weight: int, others: int) -> float:
    return weight / 100 if others <= 1 else float(tool == TOOL_STATES[0])


TEXT_CAUSES, TEXT_WEIGHTS = _enumerate()
"""All combinations of text causes, and their integer prior weights."""
