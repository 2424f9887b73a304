"""Domain compliance: are answers right as often as their domain requires?

An answer is right when the expert did not escalate the request. The one-sided 95 % lower Wilson bound of
P(right | answered) has to reach the domain's required trust, so a small sample does not pass by luck. The score (the
seed's "domain compliance") is the share of domains where it does. Whether responses keep their domain's checks is
measured by `text_quality`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from promethios.evaluation.intervals import BoolArray, FloatArray, Resamples, wilson_lower
from promethios.ontology.governance_ontology import Ontology


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainResult:
    """One domain: counts, P(right | answered) with its lower bound, and the trust that the domain requires."""

    domain: str
    title: str
    held_out: bool
    num_examples: int
    num_answered: int
    num_right: int
    right_lower_bound: float
    required_trust: float
    accuracy: float

    @property
    def right_when_answered(self) -> float | None:
        """Share of answered requests that the expert would not have escalated; None without an answer."""
        return self.num_right / self.num_answered if self.num_answered else None

    @property
    def is_met(self) -> bool:
        """True when the lower bound reaches the domain's required trust."""
        return self.right_lower_bound >= self.required_trust

    def to_json(self) -> dict[str, Any]:
        """Return plain data for the report."""
        return {
            "domain": self.domain,
            "title": self.title,
            "held_out": self.held_out,
            "num_examples": self.num_examples,
            "num_answered": self.num_answered,
            "right_when_answered": self.right_when_answered,
            "right_lower_bound": self.right_lower_bound,
            "required_trust": self.required_trust,
            "is_met": self.is_met,
            "accuracy": self.accuracy,
        }


def domain_results(
    domains: Sequence[str], escalates: BoolArray, outcome: BoolArray, ontology: Ontology, *, held_out: bool
) -> list[DomainResult]:
    """Return the result of every domain that occurs, in the ontology's order.

    domains: the true domain of each item [n]. escalates: the deployed decision [n]. outcome: the expert's [n].
    """
    names = np.asarray(domains)
    results = []
    for domain in (domain for domain in ontology.domains.values() if domain.name in set(domains)):
        members = names == domain.name
        answered = members & ~escalates
        right = int((answered & ~outcome).sum())
        results.append(
            DomainResult(
                domain=domain.name,
                title=domain.title,
                held_out=held_out,
                num_examples=int(members.sum()),
                num_answered=int(answered.sum()),
                num_right=right,
                right_lower_bound=float(wilson_lower(right, answered.sum())),
                required_trust=domain.required_trust,
                accuracy=float((escalates == outcome)[members].mean()),
            )
        )
    return results


def compliance_score(
    domains: Sequence[str],
    escalates: BoolArray,
    outcome: BoolArray,
    required: Mapping[str, float],
    resamples: Resamples,
) -> FloatArray:
    """Return the share of domains whose lower bound reaches the required trust, in every row of the resamples.

    required: domain -> required trust, for every domain in `domains`.
    """
    names = np.asarray(domains)
    present = sorted(set(domains))
    met = np.zeros(len(resamples.counts))
    for domain in present:
        answered = (names == domain) & ~escalates
        trials, right = resamples.sum(answered), resamples.sum(answered & ~outcome)
        met += wilson_lower(right, trials) >= required[domain]
    return met / len(present)
