"""The mixture of behaviours: what the exact posterior makes of a candidate, and exact quotas by rejection sampling.

A behaviour depends on observable things only (the text's causes, the telemetry). Keeping or dropping candidates by
their behaviour therefore changes how often a situation occurs, and never the posterior of its outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from promethios.data import competence
from promethios.data.causes import TEXT_CAUSES, TEXT_WEIGHTS, demand, difficulty_demand
from promethios.data.draws import BoolArray, FloatArray, IntArray, draw, uniforms
from promethios.data.example import BEHAVIOURS
from promethios.data.families import Family
from promethios.ontology.decision import DEGRADED_THRESHOLD_FACTOR
from promethios.ontology.governance_ontology import Ontology
from promethios.telemetry.header import DECISIONS

DATASET_VERSION: Final = "1"
"""Part of every seed: raise it with any change to the world or to the wording."""

SHARES: Final = (0.3, 0.4, 0.2, 0.1)
"""Shares of BEHAVIOURS in every split."""
QUOTA_STEP: Final = 10
"""A split's size is a multiple of this, so that the shares are whole numbers."""
CAUTION: Final = 0.10
"""From this probability of an escalation on, an answer comes with a caveat."""
DIGITS: Final = 4
"""Decimals of stored probabilities; decisions are taken from the rounded numbers."""
HEADER_DROP: Final = 0.2
"""How often the header does not name the domain; the text still tells it."""
BLOCK: Final = 2048
WORDING_COLUMNS: Final = 192
"""Uniform numbers for one example's text: more than its longest series of drafts takes."""

_ANSWER, _CAVEAT, _CLARIFY, _ESCALATE = range(len(DECISIONS))
_MILD: Final = np.array([causes.has_mild_cause for causes in TEXT_CAUSES])
_UNDERSPECIFIED: Final = np.array([causes.is_underspecified for causes in TEXT_CAUSES])
AFFECT: Final = np.array([causes.affect for causes in TEXT_CAUSES], dtype=np.int64)


@dataclass(frozen=True)
class Candidates:
    """Candidates for a split, n rows each.

    causes: index into TEXT_CAUSES. family: index into the split's families. telemetry. probability: P(escalate | all
    that is observable), rounded. confidence: P(competent for the plain question), rounded. outcome: what the expert
    did. right: the best decision short of escalating, index into DECISIONS. behaviour: index into BEHAVIOURS.
    header_dropped: the domain is left out of the header. wording: uniform numbers for the text.
    """

    causes: IntArray
    family: IntArray
    telemetry: competence.Telemetry
    probability: FloatArray
    confidence: FloatArray
    outcome: IntArray
    right: IntArray
    behaviour: IntArray
    header_dropped: BoolArray
    wording: FloatArray

    def __getitem__(self, rows: IntArray) -> Candidates:
        return Candidates(**{name: value[rows] for name, value in vars(self).items()})


def quotas(count: int) -> tuple[int, ...]:
    """Return how many of each of BEHAVIOURS a split of `count` examples holds; `count` is a multiple of QUOTA_STEP."""
    return tuple(round(share * 10) * count // 10 for share in SHARES)


def _demand_tables(families: tuple[Family, ...], ontology: Ontology) -> tuple[IntArray, IntArray]:
    """Return demands in centilogits [families, text causes]: of the whole request, and of its plain question."""
    trust = [ontology.domain(family.domain).required_trust for family in families]
    whole = {r: [demand(causes, r) for causes in TEXT_CAUSES] for r in set(trust)}
    plain = {r: [difficulty_demand(causes.difficulty, r) for causes in TEXT_CAUSES] for r in set(trust)}
    return np.array([whole[r] for r in trust]), np.array([plain[r] for r in trust])


def right_decision(causes: IntArray, probability: FloatArray) -> IntArray:
    """Return the best decision short of escalating, as indices into DECISIONS; causes: indices into TEXT_CAUSES."""
    careful = _MILD[causes] | (probability >= CAUTION)
    return np.where(_UNDERSPECIFIED[causes], _CLARIFY, np.where(careful, _CAVEAT, _ANSWER))


def behaviours(causes: IntArray, probability: FloatArray, degraded: BoolArray, thresholds: FloatArray) -> IntArray:
    """Return behaviours, indices into BEHAVIOURS: the vectorised twin of `ontology.decision.decide`.

    thresholds: of the domain, before telemetry that is degraded lowers them.
    """
    escalate = probability >= np.where(degraded, thresholds * DEGRADED_THRESHOLD_FACTOR, thresholds)
    plain = (right_decision(causes, probability) == _ANSWER) & ~degraded
    return np.where(escalate, 2 + AFFECT[causes], np.where(plain, 0, 1))


class Split:
    """The seeded stream of one split's candidates.

    demand [families, text causes] in centilogits; thresholds, required_trust [families]: of each family's domain.
    """

    def __init__(self, name: str, seed: int, families: tuple[Family, ...], ontology: Ontology) -> None:
        self.name = name
        self.families = families
        self._seed = seed
        self.demand, self._plain = _demand_tables(families, ontology)
        self.thresholds = np.array([ontology.domain(family.domain).escalation_threshold for family in families])
        self.required_trust = np.array([ontology.domain(family.domain).required_trust for family in families])

    def sample(self, count: int) -> Candidates:
        """Return `count` candidates with exact quotas, in random order."""
        missing = np.array(quotas(count))
        kept: list[Candidates] = []
        block = 0
        while missing.any():
            candidates = self.block(block)
            block += 1
            chosen = []
            for behaviour in range(len(BEHAVIOURS)):
                rows = np.flatnonzero(candidates.behaviour == behaviour)[: missing[behaviour]]
                missing[behaviour] -= len(rows)
                chosen.append(rows)
            kept.append(candidates[np.sort(np.concatenate(chosen))])
        together = _concatenate(kept)
        # Without this the last examples would all be of the behaviour whose quota was filled last.
        order = uniforms(1, count, DATASET_VERSION, self._seed, self.name, "order")[0]
        return together[np.argsort(order, kind="stable")]

    def block(self, number: int) -> Candidates:
        """Return a block of BLOCK candidates, before any quota."""
        columns = 5 + competence.DRAW_COLUMNS + WORDING_COLUMNS
        u = uniforms(BLOCK, columns, DATASET_VERSION, self._seed, self.name, number)
        causes = draw(TEXT_WEIGHTS, u[:, 0])
        family = (u[:, 1] * len(self.families)).astype(np.int64)
        k = competence.draw_competence(u[:, 2])
        telemetry = competence.draw_telemetry(k, AFFECT[causes], u[:, 5 : 5 + competence.DRAW_COLUMNS])
        demands = self.demand[family, causes]
        posterior = competence.posterior(telemetry)
        probability = competence.outcome_probability(competence.probability_below(posterior, demands)).round(DIGITS)
        below_plain = competence.probability_below(posterior, self._plain[family, causes])
        flipped = u[:, 3] < competence.OUTCOME_NOISE
        return Candidates(
            causes=causes,
            family=family,
            telemetry=telemetry,
            probability=probability,
            confidence=(1.0 - below_plain).round(DIGITS),
            outcome=((competence.GRID[k] < demands) ^ flipped).astype(np.int64),
            right=right_decision(causes, probability),
            behaviour=behaviours(causes, probability, telemetry.degraded(), self.thresholds[family]),
            header_dropped=u[:, 4] < HEADER_DROP,
            wording=u[:, -WORDING_COLUMNS:],
        )


def _concatenate(parts: list[Candidates]) -> Candidates:
    fields = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0]) if name != "telemetry"
    }
    telemetry = competence.Telemetry(
        **{name: np.concatenate([getattr(part.telemetry, name) for part in parts]) for name in vars(parts[0].telemetry)}
    )
    return Candidates(telemetry=telemetry, **fields)
