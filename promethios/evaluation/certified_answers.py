"""What the certificate's promise is worth on examples that it was not made from.

    auto-answered share   requests answered without a person, of all
    missed share          requests answered although the expert took them, of all: the risk that the certificate bounds

For comparison, every system is certified in the same way at one common risk limit (COMMON_RISK_LIMIT in every domain):
what share could each of them answer under the same promise?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from promethios.data.example import Example
from promethios.evaluation.calibration import Calibration
from promethios.evaluation.certificate import Certificate, DomainCertificate, deployed_threshold
from promethios.evaluation.certificate_fit import CertificationSample, certify, certify_domains
from promethios.evaluation.decisions import System, degraded_of, escalations
from promethios.evaluation.evaluated_set import EvaluatedSet
from promethios.evaluation.intervals import (
    CONFIDENCE,
    BoolArray,
    FloatArray,
    Resamples,
    clopper_pearson_lower,
)

COMMON_RISK_LIMIT: Final = 0.02


def served_escalations(
    probability: FloatArray, examples: Sequence[Example], calibration: Calibration, certificate: Certificate
) -> BoolArray:
    """Return whether the model as it is served escalates each example [n]: by cost or by certificate."""
    thresholds = [deployed_threshold(calibration, certificate, example.header_domain) for example in examples]
    return escalations(probability, np.array(thresholds), degraded_of(examples))


def answer_measures(escalates: BoolArray, outcome: BoolArray, resamples: Resamples) -> dict[str, Any]:
    """Return auto-answered and missed share of n decisions to escalate, against the expert's outcome."""
    return {
        "auto_answered_share": resamples.estimate(resamples.mean(~escalates)),
        "missed_share": resamples.estimate(resamples.mean(~escalates & outcome)),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPromise:
    """One domain's certificate on new examples that state this domain.

    risk_lower_bound: one-sided, exact; above the limit the promise is broken, and not by chance.
    """

    num_examples: int
    num_answered: int
    num_missed: int
    risk_limit: float
    risk_lower_bound: float

    @property
    def holds(self) -> bool:
        """False when the realised risk is significantly above the limit."""
        return self.risk_lower_bound <= self.risk_limit

    def to_json(self) -> dict[str, Any]:
        """Return plain data for the report."""
        return {
            "num_examples": self.num_examples,
            "num_answered": self.num_answered,
            "num_missed": self.num_missed,
            "auto_answered_share": self.num_answered / self.num_examples,
            "missed_share": self.num_missed / self.num_examples,
            "risk_limit": self.risk_limit,
            "risk_lower_bound": self.risk_lower_bound,
            "holds": self.holds,
        }


def kept_promises(
    certified: Mapping[str, DomainCertificate], examples: Sequence[Example], escalates: BoolArray, outcome: BoolArray
) -> dict[str, KeptPromise]:
    """Return for each certified domain that n examples state what its promise came to.

    The bounds of all domains hold together with 95 % confidence (Bonferroni), so that one of ten does not fail by luck.
    """
    stated = [example.header_domain for example in examples]
    present = [name for name in certified if name in set(stated)]
    promises = {}
    for name in present:
        of_domain = np.array([domain == name for domain in stated])
        num, missed = int(of_domain.sum()), int((of_domain & ~escalates & outcome).sum())
        confidence = 1.0 - (1.0 - CONFIDENCE) / len(present)
        promises[name] = KeptPromise(
            num_examples=num,
            num_answered=int((of_domain & ~escalates).sum()),
            num_missed=missed,
            risk_limit=certified[name].risk_limit,
            risk_lower_bound=float(clopper_pearson_lower(missed, num, confidence=confidence)),
        )
    return promises


@dataclass(frozen=True)
class Certification:
    """What certificates at a common risk limit are made from. thresholds, default_threshold: of cost."""

    sample: CertificationSample
    thresholds: Mapping[str, float]
    default_threshold: float

    def at_common_risk(self, probability: FloatArray, system: System, test: EvaluatedSet) -> dict[str, Any]:
        """Return what a system answers on a test set when certified at COMMON_RISK_LIMIT.

        probability: the system's P(escalate) on the sample. `by_domain`: a threshold for each domain that is stated,
        the most careful one for the rest. `pooled`: one for all, certified on the whole sample.
        """
        limits = dict.fromkeys(self.thresholds, COMMON_RISK_LIMIT)
        certified = certify_domains(probability, self.sample, thresholds=self.thresholds, risk_limits=limits)
        by_domain = {name: domain.threshold for name, domain in certified.items()}
        most_careful = min(by_domain.values(), default=0.0)
        pooled = certify(
            probability,
            self.sample.outcome,
            self.sample.degraded,
            risk_limit=COMMON_RISK_LIMIT,
            most=self.default_threshold,
        ).threshold
        rules = {
            "by_domain": [by_domain.get(example.header_domain or "", most_careful) for example in test.examples],
            "pooled": [pooled] * len(test.examples),
        }
        return {
            name: answer_measures(
                escalations(system.probability, np.array(thresholds), test.degraded), test.outcome, test.resamples
            )
            for name, thresholds in rules.items()
        }
