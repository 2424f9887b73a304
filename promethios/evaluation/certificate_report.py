"""The report's part on the certificate: what is promised, what it came to, and what other systems could promise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from promethios.evaluation.calibration import Calibration
from promethios.evaluation.certificate import Certificate
from promethios.evaluation.certified_answers import (
    COMMON_RISK_LIMIT,
    Certification,
    KeptPromise,
    answer_measures,
    kept_promises,
    served_escalations,
)
from promethios.evaluation.evaluated_set import EvaluatedSet
from promethios.evaluation.intervals import FloatArray


def promises(evaluated: EvaluatedSet, calibration: Calibration, certificate: Certificate) -> dict[str, KeptPromise]:
    """Return what the certificate's promise came to in each domain of a set that has a certified threshold."""
    certified = {name: domain for name, domain in certificate.domains.items() if domain.is_certified}
    escalates = served_escalations(evaluated.model.probability, evaluated.examples, calibration, certificate)
    return kept_promises(certified, evaluated.examples, escalates, evaluated.outcome)


def certificate_notes(certificate: Certificate) -> list[str]:
    """Return a sentence for each domain where nothing could be certified."""
    return [
        f"No threshold could be certified in {name} at a risk of {domain.risk_limit:.0%} with {domain.num_examples:,} "
        "examples: every request there is escalated."
        for name, domain in certificate.domains.items()
        if not domain.is_certified
    ]


def certificate_report(
    certificate: Certificate,
    calibration: Calibration,
    sets: Mapping[str, EvaluatedSet],
    kept: Mapping[str, KeptPromise],
    *,
    certification: Certification,
    certified_on: Mapping[str, FloatArray],
) -> dict[str, Any]:
    """Return the part as nested data.

    sets: the test sets by name, among them `test`. kept: `promises` on that one. certified_on: P(escalate) of every
    system that is to be compared at the common risk limit, on the certification's examples, by key.
    """
    test = sets["test"]
    realised = {}
    for name, evaluated in sets.items():
        escalates = served_escalations(evaluated.model.probability, evaluated.examples, calibration, certificate)
        realised[name] = answer_measures(escalates, evaluated.outcome, evaluated.resamples)
    compared = [system for system in (test.model, *test.baselines.values()) if system.key in certified_on]
    return {
        "confidence": certificate.confidence,
        "default_threshold": certificate.default_threshold,
        "domains": {name: asdict(domain) for name, domain in certificate.domains.items()},
        "realised": realised,
        "realised_by_domain": {name: promise.to_json() for name, promise in kept.items()},
        "common_risk_limit": COMMON_RISK_LIMIT,
        "at_common_risk": [
            {
                "key": system.key,
                "title": system.title,
                **certification.at_common_risk(certified_on[system.key], system, test),
            }
            for system in compared
        ],
    }
