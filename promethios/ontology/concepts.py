"""What the ontology speaks of: frameworks, principles, norms, checks, domains, and the two lists of risks."""

from __future__ import annotations

import re
from dataclasses import dataclass

from promethios.ontology.decision import cost_threshold
from promethios.telemetry.header import HeaderDomain


@dataclass(frozen=True, slots=True)
class Framework:
    """A family of principles. rank: 0 for the framework that prevails over all others."""

    id: str
    title: str
    description: str
    rank: int


@dataclass(frozen=True, slots=True)
class Principle:
    """A sentence that a framework stands for; source: where it is written down, or None."""

    id: str
    framework: str
    sentence: str
    source: str | None


@dataclass(frozen=True, slots=True)
class Check:
    """What a pattern can tell about a response.

    decisions: the decisions whose responses it is about. must_match and must_not_match: regular expressions, searched
    anywhere in the response without regard to case; at least one is given.
    """

    id: str
    description: str
    decisions: tuple[str, ...]
    must_match: re.Pattern[str] | None
    must_not_match: re.Pattern[str] | None

    def applies_to(self, decision: str) -> bool:
        """True when the check is about responses given with this decision."""
        return decision in self.decisions

    def passes(self, response: str) -> bool:
        """True when the response holds what it must and nothing that it must not."""
        if self.must_match is not None and not self.must_match.search(response):
            return False
        return self.must_not_match is None or not self.must_not_match.search(response)


@dataclass(frozen=True, slots=True)
class Norm:
    """A concrete rule that follows from a principle.

    precedence: position within the framework; the lower number prevails. conflicts_with: norms that may ask for the
    opposite (stated on one side, known on both). checks: ids of checks. domains: names of the domains it applies to.
    """

    id: str
    principle: str
    framework: str
    sentence: str
    precedence: int
    conflicts_with: tuple[str, ...]
    checks: tuple[str, ...]
    domains: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Domain:
    """A field of use.

    slot: its place in the token header. required_trust: in [0, 1], what the trust channel should reach before an
    answer is given without more ado. risk_limit: in (0, 1), the largest share of requests that may be answered although
    an expert would have taken them (`evaluation.certificate`). review_cost and miss_cost: of asking an expert
    in vain and of not asking one who was needed, in any one unit. expert: whom a request is handed to, in words ("a
    clinician"). norms: ids, the prevailing ones first.
    """

    name: str
    title: str
    slot: int
    required_trust: float
    risk_limit: float
    review_cost: float
    miss_cost: float
    expert: str
    norms: tuple[str, ...]

    @property
    def escalation_threshold(self) -> float:
        """The probability of needing an expert from which asking one is the cheaper choice."""
        return cost_threshold(review_cost=self.review_cost, miss_cost=self.miss_cost)

    @property
    def header(self) -> HeaderDomain:
        """The domain as the token header names it."""
        return HeaderDomain(self.slot, self.required_trust)


@dataclass(frozen=True, slots=True)
class Category:
    """A bias category that the model scores."""

    id: str
    title: str
    description: str


@dataclass(frozen=True, slots=True)
class Dimension:
    """An uncertainty dimension that the model scores."""

    id: str
    title: str
    description: str
