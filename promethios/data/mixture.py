"""The mixture of behaviours: what the exact posterior makes of a candidate, and exact quotas by rejection sampling.

A behaviour depends on observable things only (the text's causes, the telemetry), and so does everything else that
candidates are chosen by. Keeping or dropping candidates therefore changes how often a situation occurs, and never the
posterior of its outcome.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from promethios.data import competence
from promethios.data.causes import TEXT_CAUSES, TEXT_WEIGHTS, demand, difficulty_demand
from promethios.data.draws import BoolArray, FloatArray, IntArray, draw, uniforms
from promethios.data.example import BEHAVIOURS
from promethios.data.families import Family
from promethios.errors import DatasetError
from promethios.ontology.decision import DEGRADED_THRESHOLD_FACTOR
from promethios.ontology.governance_ontology import Ontology
from promethios.telemetry.header import DECISIONS

DATASET_VERSION: Final = "2"
"""Part of every seed: raise it with any change to the world or to the wording."""

SHARES: Final = (0.3, 0.4, 0.2, 0.1)
"""Shares of BEHAVIOURS in every split that has quotas of behaviours."""
QUOTA_STEP: Final = 10
"""The size of such a split is a multiple of this, so that the shares are whole numbers."""
CAUTION: Final = 0.10
"""From this probability of an escalation on, an answer comes with a caveat."""
DIGITS: Final = 4
"""Decimals of stored probabilities; decisions are taken from the rounded numbers."""
HEADER_DROP: Final = 0.2
"""How often the header does not name the domain; the text still tells it."""
BLOCK: Final = 2048
MAX_BLOCKS: Final = 20_000
"""Of candidates, looked at for one split: far more than a split of the largest size takes."""
SPARE_COLUMNS: Final = 2
"""Uniform numbers with which twins are made: which outcome, and which variant."""

VALUES: Final = ("any", "seen", "held_out")
"""Which telemetry a split takes: all; only without, only with a reading in competence.HELD_OUT_VALUES."""

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
    header_dropped: the domain is left out of the header. spare: uniform numbers for making twins.
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
    spare: FloatArray

    def __len__(self) -> int:
        return len(self.causes)

    def __getitem__(self, rows: IntArray | BoolArray) -> Candidates:
        return Candidates(**{name: value[rows] for name, value in vars(self).items()})


Arrangement = Callable[[Candidates], tuple[tuple[Candidates, ...], IntArray]]
"""Makes of n candidates the members that belong together (n rows each), and the quota cell of each row, -1 for none."""


def quotas(count: int) -> tuple[int, ...]:
    """Return how many of each of BEHAVIOURS a split of `count` examples holds; `count` is a multiple of QUOTA_STEP."""
    return tuple(round(share * 10) * count // 10 for share in SHARES)


def domain_quotas(count: int, num_domains: int) -> IntArray:
    """Return the quotas [domains, behaviours]: those of `quotas` in total, dealt to the domains one after the other."""
    behaviour = np.repeat(np.arange(len(BEHAVIOURS)), quotas(count))
    cell = np.arange(count) % num_domains * len(BEHAVIOURS) + behaviour
    return np.bincount(cell, minlength=num_domains * len(BEHAVIOURS)).reshape(num_domains, len(BEHAVIOURS))


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


def effective_thresholds(degraded: BoolArray, thresholds: FloatArray) -> FloatArray:
    """Return the probabilities from which on `ontology.decision.decide` escalates: lower for degraded telemetry."""
    return np.where(degraded, thresholds * DEGRADED_THRESHOLD_FACTOR, thresholds)


def behaviours(causes: IntArray, probability: FloatArray, degraded: BoolArray, thresholds: FloatArray) -> IntArray:
    """Return behaviours, indices into BEHAVIOURS: the vectorised twin of `ontology.decision.decide`.

    thresholds: of the domain, before telemetry that is degraded lowers them.
    """
    escalate = probability >= effective_thresholds(degraded, thresholds)
    plain = (right_decision(causes, probability) == _ANSWER) & ~degraded
    return np.where(escalate, 2 + AFFECT[causes], np.where(plain, 0, 1))


class Split:
    """The seeded stream of one split's candidates.

    demand [families, text causes] in centilogits; thresholds, required_trust, domain [families]: of each family, the
    domain as an index into `domains`. values: one of VALUES; what else is chosen from the stream is the caller's.
    """

    def __init__(
        self, name: str, seed: int, families: tuple[Family, ...], ontology: Ontology, values: str = "any"
    ) -> None:
        self.name = name
        self.families = families
        self.domains = tuple(dict.fromkeys(family.domain for family in families))
        self._seed = seed
        self._values = values
        self.demand, self._plain = _demand_tables(families, ontology)
        self.thresholds = np.array([ontology.domain(family.domain).escalation_threshold for family in families])
        self.required_trust = np.array([ontology.domain(family.domain).required_trust for family in families])
        self.domain = np.array([self.domains.index(family.domain) for family in families])

    def sample(self, count: int) -> Candidates:
        """Return `count` candidates with exact quotas of behaviours in every domain, in random order."""
        quota = domain_quotas(count, len(self.domains)).ravel()
        return self.gather(quota, lambda candidates: ((candidates,), self.cell(candidates)))[0]

    def cell(self, candidates: Candidates) -> IntArray:
        """Return each candidate's cell in `domain_quotas`, flattened."""
        return self.domain[candidates.family] * len(BEHAVIOURS) + candidates.behaviour

    def gather(self, quota: IntArray, arrange: Arrangement) -> tuple[Candidates, ...]:
        """Return members that fill every cell's quota exactly, in random order.

        quota [cells]. Raises DatasetError when a cell does not fill: nothing in the world belongs there.
        """
        missing = quota.copy()
        kept: list[tuple[Candidates, ...]] = []
        for number in range(MAX_BLOCKS):
            members, cell = arrange(self.block(number))
            chosen = [np.flatnonzero(cell == index)[: missing[index]] for index in range(len(missing))]
            missing -= [len(rows) for rows in chosen]
            rows = np.sort(np.concatenate(chosen))
            kept.append(tuple(member[rows] for member in members))
            if not missing.any():
                break
        else:
            raise DatasetError(f"split {self.name}: {missing.sum()} of {quota.sum()} examples cannot be found")
        # Without this the last examples would all be of the cell whose quota was filled last.
        order = np.argsort(uniforms(1, int(quota.sum()), *self.key("order"))[0], kind="stable")
        return tuple(_concatenate(parts)[order] for parts in zip(*kept, strict=True))

    def block(self, number: int) -> Candidates:
        """Return the candidates of a block of BLOCK draws whose telemetry the split takes, before any quota."""
        own = 5 + SPARE_COLUMNS
        u = uniforms(BLOCK, own + competence.DRAW_COLUMNS, *self.key(number))
        causes = draw(TEXT_WEIGHTS, u[:, 0])
        family = (u[:, 1] * len(self.families)).astype(np.int64)
        k = competence.draw_competence(u[:, 2])
        telemetry = competence.draw_telemetry(k, AFFECT[causes], u[:, own:])
        below = competence.GRID[k] < self.demand[family, causes]
        drawn: dict[str, Any] = {
            "causes": causes,
            "family": family,
            "telemetry": telemetry,
            "outcome": (below ^ (u[:, 3] < competence.OUTCOME_NOISE)).astype(np.int64),
            "header_dropped": u[:, 4] < HEADER_DROP,
            "spare": u[:, 5:own],
        }
        rows = self.takes(telemetry)
        drawn = {name: value[rows] for name, value in drawn.items()}
        return Candidates(**drawn, **self._judged(drawn["causes"], drawn["family"], drawn["telemetry"]))

    def takes(self, telemetry: competence.Telemetry) -> BoolArray:
        """Return which telemetry the split takes [n], by its `values`."""
        if self._values == "any":
            return np.full(len(telemetry), True)
        return np.equal(telemetry.shows_held_out_values(), self._values == "held_out")

    def twin(
        self, candidates: Candidates, *, telemetry: competence.Telemetry | None = None, causes: IntArray | None = None
    ) -> Candidates:
        """Return the candidates with other telemetry or other causes, judged anew, their outcome from the posterior.

        The outcome is drawn with the same number for all twins of a candidate.
        """
        telemetry = candidates.telemetry if telemetry is None else telemetry
        causes = candidates.causes if causes is None else causes
        judged = self._judged(causes, candidates.family, telemetry)
        outcome = (candidates.spare[:, 0] < judged["probability"]).astype(np.int64)
        return replace(candidates, telemetry=telemetry, causes=causes, outcome=outcome, **judged)

    def margin(self, candidates: Candidates) -> FloatArray:
        """Return how far P(escalate) lies above the threshold that decides, negative below it [n]."""
        thresholds = self.thresholds[candidates.family]
        return candidates.probability - effective_thresholds(candidates.telemetry.degraded(), thresholds)

    def _judged(self, causes: IntArray, family: IntArray, telemetry: competence.Telemetry) -> dict[str, Any]:
        posterior = competence.posterior(telemetry)
        below = competence.probability_below(posterior, self.demand[family, causes])
        probability = competence.outcome_probability(below).round(DIGITS)
        below_plain = competence.probability_below(posterior, self._plain[family, causes])
        return {
            "probability": probability,
            "confidence": (1.0 - below_plain).round(DIGITS),
            "right": right_decision(causes, probability),
            "behaviour": behaviours(causes, probability, telemetry.degraded(), self.thresholds[family]),
        }

    def key(self, *part: str | int) -> tuple[str | int, ...]:
        """Return the key of the random numbers for one part of the split's work."""
        return (DATASET_VERSION, self._seed, self.name, *part)


def _concatenate(parts: tuple[Candidates, ...]) -> Candidates:
    fields = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0]) if name != "telemetry"
    }
    return Candidates(telemetry=competence.concatenate([part.telemetry for part in parts]), **fields)
