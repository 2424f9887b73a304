"""Domain compliance: are answers right as often as their domain requires?

An answer is right when the expert did not escalate the request. The one-sided 95 % lower Wilson bound of
P(right | answered) has to reach the domain's required trust, so a small sample does not pass by luck. The score (the
seed's "domain compliance") is the share of domains where it does. Whether responses keep their domain's checks is
measured by `text_quality`, over all and for each domain.

Each domain also says whether the model decides it better than a rival does: McNemar's exact test on the same requests.
So many tests find something by chance, so `q_value` is the p-value after Benjamini & Hochberg 1995 (J. R. Stat. Soc. B
57) over the domains of the set: calling those at most 0.05 different makes one false call in twenty, on average.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from promethios.evaluation.conflict_pairs import mcnemar
from promethios.evaluation.intervals import BoolArray, FloatArray, Resamples, wilson_lower
from promethios.ontology.governance_ontology import Ontology


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainResult:
    """One domain: counts, P(right | answered) with its lower bound, and the trust that the domain requires.

    gain: accuracy minus the rival's; p_value, q_value: of there being none.
    """

    domain: str
    title: str
    held_out: bool
    num_examples: int
    num_answered: int
    num_right: int
    right_lower_bound: float
    required_trust: float
    accuracy: float
    gain: float
    p_value: float
    q_value: float

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
            "gain": self.gain,
            "p_value": self.p_value,
            "q_value": self.q_value,
        }


def domain_results(
    domains: Sequence[str],
    escalates: BoolArray,
    rival: BoolArray,
    outcome: BoolArray,
    ontology: Ontology,
    *,
    held_out: bool,
) -> list[DomainResult]:
    """Return the result of every domain that occurs, in the ontology's order.

    domains: the true domain of each item [n]. escalates: the deployed decision [n]. rival: that of the system that it
    is compared with [n]. outcome: the expert's [n].
    """
    names = np.asarray(domains)
    present = [domain for domain in ontology.domains.values() if domain.name in set(domains)]
    of_domain = [names == domain.name for domain in present]
    right, rival_right = escalates == outcome, rival == outcome
    p_values = [mcnemar(right[members], rival_right[members]).p_value for members in of_domain]
    q_values = stats.false_discovery_control(p_values, method="bh")
    results = []
    for domain, members, p_value, q_value in zip(present, of_domain, p_values, q_values, strict=True):
        answered = members & ~escalates
        num_right = int((answered & ~outcome).sum())
        results.append(
            DomainResult(
                domain=domain.name,
                title=domain.title,
                held_out=held_out,
                num_examples=int(members.sum()),
                num_answered=int(answered.sum()),
                num_right=num_right,
                right_lower_bound=float(wilson_lower(num_right, answered.sum())),
                required_trust=domain.required_trust,
                accuracy=float(right[members].mean()),
                gain=float(right[members].mean() - rival_right[members].mean()),
                p_value=p_value,
                q_value=float(q_value),
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
