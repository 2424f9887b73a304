"""Calibrate and certify a model: after training, and again after anything that changes its weights.

    calibrate_and_certify(Path("runs/nano"), Path("data/governance"))

Calibration and certificate share the split `calibration` and never an example of it. In every domain each fifth example
fits the calibration (a handful of parameters, see `calibration_fit`); the others test the thresholds. A certificate
taken from the examples that the probabilities were fitted on would not mean what it says.

Certification speaks of requests that state their domain. In the dataset one request in five leaves it out, by a draw
that depends on nothing else; the examples for the certificate are scored with it stated, so each of them counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from promethios.data.example import Example, read_examples
from promethios.data.folder import dataset_sha256, split_path
from promethios.evaluation.calibration import Calibration, calibration_sha256, escalation_log_odds
from promethios.evaluation.calibration_fit import fit_calibration
from promethios.evaluation.certificate import Certificate
from promethios.evaluation.certificate_fit import CertificationSample, certify_domains
from promethios.evaluation.domain_probe import fitted_level
from promethios.evaluation.intervals import CONFIDENCE, FloatArray
from promethios.model.folder import weights_sha256
from promethios.ontology.decision import ESCALATE
from promethios.ontology.governance_ontology import load_ontology

CALIBRATION_SHARE: Final = 5
"""Of every so many examples of a domain the first one fits the calibration."""


@dataclass(frozen=True)
class CalibrationExamples:
    """The split `calibration`, divided: `fit` fits the probabilities, `certify` tests the thresholds."""

    fit: list[Example]
    certify: list[Example]

    @classmethod
    def divide(cls, examples: Sequence[Example]) -> CalibrationExamples:
        """Divide the split: of every CALIBRATION_SHARE examples of a domain, in their order, the first one to `fit`."""
        fit, rest = [], []
        seen: Counter[str | None] = Counter()
        for example in examples:
            if seen[example.domain] % CALIBRATION_SHARE:
                rest.append(replace(example, header_domain=example.domain))
            else:
                fit.append(example)
            seen[example.domain] += 1
        return cls(fit, rest)


def calibrate_and_certify(model_path: Path, data_dir: Path) -> tuple[Calibration, Certificate]:
    """Score the calibration split with a model, fit calibration and certificate and write both into its folder.

    Raises ModelFolderError or DatasetError when the model or the split is not there.
    """
    from promethios.model.scoring import LoadedModel, probe_domains, score_examples

    examples = CalibrationExamples.divide(read_examples(split_path(data_dir, "calibration")))
    model = LoadedModel.load(model_path)
    scores = np.asarray(score_examples(model, [*examples.fit, *examples.certify]), np.float64)
    fit_scores, certify_scores = np.split(scores, [len(examples.fit)])
    return write_calibration_and_certificate(
        model_path,
        dataset_sha256(data_dir),
        examples,
        fit_scores=fit_scores,
        certify_scores=certify_scores,
        domain_probe_level=fitted_level(probe_domains(model, examples.fit), examples.fit),
    )


def write_calibration_and_certificate(
    model_path: Path,
    dataset: str,
    examples: CalibrationExamples,
    *,
    fit_scores: FloatArray,
    certify_scores: FloatArray,
    domain_probe_level: float | None = None,
) -> tuple[Calibration, Certificate]:
    """Fit both on raw scores, [n, 18] for each part, and write them into the model folder; dataset: its SHA-256."""
    fitted = fitted_calibration(fit_scores, examples.fit, weights_sha256(model_path), dataset)
    calibration = replace(fitted, domain_probe_level=domain_probe_level)
    calibration.save(model_path)
    domains = certify_domains(
        calibrated(certify_scores, examples.certify, calibration),
        CertificationSample.of(examples.certify),
        thresholds=calibration.thresholds,
        risk_limits={domain.name: domain.risk_limit for domain in load_ontology().domains.values()},
    )
    certificate = Certificate(
        weights_sha256=calibration.weights_sha256,
        calibration_sha256=calibration_sha256(model_path),
        dataset_sha256=dataset,
        confidence=CONFIDENCE,
        domains=domains,
        default_threshold=min((domain.threshold for domain in domains.values()), default=0.0),
    )
    certificate.save(model_path)
    return calibration, certificate


def fitted_calibration(scores: FloatArray, examples: Sequence[Example], weights: str, dataset: str) -> Calibration:
    """Fit a calibration on raw scores [n, 18] and the expert's outcomes; weights, dataset: SHA-256 it will carry."""
    domains = load_ontology().domains.values()
    thresholds = {domain.name: domain.escalation_threshold for domain in domains}
    fitted = fit_calibration(
        np.array([escalation_log_odds(row) for row in scores.tolist()]),
        np.array([example.truth for example in examples]),
        [example.header_domain for example in examples],
    )
    return Calibration(
        weights_sha256=weights,
        dataset_sha256=dataset,
        num_examples=len(examples),
        slope=fitted.slope,
        intercept=fitted.intercept,
        domain_intercepts=fitted.domain_intercepts,
        thresholds=thresholds,
        # Nobody knows what a miss costs in a domain that is not stated, so the most careful threshold holds there.
        default_threshold=min(thresholds.values()),
    )


def calibrated(scores: FloatArray, examples: Sequence[Example], calibration: Calibration) -> FloatArray:
    """Return the calibrated P(escalate) [n] of raw scores [n, 18]."""
    rows = zip(scores.tolist(), examples, strict=True)
    return np.array([calibration.probabilities(row, example.header_domain)[ESCALATE] for row, example in rows])
