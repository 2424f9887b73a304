from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from promethios.errors import ModelFolderError
from promethios.evaluation.calibration import Calibration, calibration_sha256
from promethios.evaluation.certificate import FILE_NAME, Certificate, DomainCertificate, deployed_threshold
from promethios.model.folder import weights_sha256

LEGAL = DomainCertificate(
    risk_limit=0.02,
    threshold=0.1,
    num_examples=800,
    num_answered=400,
    num_missed=9,
    risk_upper_bound=0.0196,
    auto_answered_share=0.5,
    crc_threshold=0.15,
)


@pytest.fixture
def calibration(model_folder: Path) -> Calibration:
    calibration = Calibration(
        weights_sha256=weights_sha256(model_folder),
        dataset_sha256="b" * 64,
        num_examples=200,
        slope=1.0,
        intercept=0.0,
        thresholds={"legal": 0.4, "general": 0.4},
        default_threshold=0.4,
    )
    calibration.save(model_folder)
    return calibration


@pytest.fixture
def certificate(model_folder: Path, calibration: Calibration) -> Certificate:
    return Certificate(
        weights_sha256=calibration.weights_sha256,
        calibration_sha256=calibration_sha256(model_folder),
        dataset_sha256="b" * 64,
        confidence=0.95,
        domains={"legal": LEGAL, "general": replace(LEGAL, risk_limit=0.05, threshold=0.4)},
        default_threshold=0.1,
    )


def test_what_is_saved_is_loaded(model_folder: Path, calibration: Calibration, certificate: Certificate) -> None:
    certificate.save(model_folder)
    assert Certificate.load(model_folder, calibration) == certificate


@pytest.mark.parametrize(
    ("domain", "cost", "expected"),
    [("legal", 0.4, 0.1), ("legal", 0.05, 0.05), ("general", 0.4, 0.4), ("insurance", 0.4, 0.1), (None, 0.4, 0.1)],
)
def test_the_lower_one_of_both_thresholds_is_deployed_and_the_most_careful_for_other_domains(
    calibration: Calibration, certificate: Certificate, domain: str | None, cost: float, expected: float
) -> None:
    calibration = replace(calibration, thresholds={"legal": cost, "general": cost}, default_threshold=cost)
    assert deployed_threshold(calibration, certificate, domain) == expected


def test_a_missing_certificate_says_what_to_run(model_folder: Path, calibration: Calibration) -> None:
    with pytest.raises(ModelFolderError, match=r"governance_certificate.json is missing; run `promethios evaluate"):
        Certificate.load(model_folder, calibration)


def test_a_certificate_of_other_weights_is_refused(
    model_folder: Path, calibration: Calibration, certificate: Certificate
) -> None:
    replace(certificate, weights_sha256="c" * 64).save(model_folder)
    with pytest.raises(ModelFolderError, match=r"certifies weights cccccccccccc, .*promethios evaluate"):
        Certificate.load(model_folder, calibration)


def test_a_certificate_of_another_calibration_of_the_same_weights_is_refused(
    model_folder: Path, calibration: Calibration, certificate: Certificate
) -> None:
    certificate.save(model_folder)
    other = replace(calibration, intercept=0.1)
    other.save(model_folder)
    with pytest.raises(ModelFolderError, match="certifies calibration"):
        Certificate.load(model_folder, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "format_version must be 1"),
        ({"confidence": 1}, "confidence is 1; it must be a probability"),
        ({"default_threshold": 1.5}, "default_threshold is 1.5"),
        ({"domains": []}, r"domains is \[\]; it must be an object"),
        ({"domains": {"legal": 0.1}}, "domains.legal: must be an object"),
        ({"domains": {"legal": {}}}, r"domains.legal: missing or unknown key\(s\): auto_answered_share"),
        ({"surplus": 1}, r"missing or unknown key\(s\): surplus"),
    ],
)
def test_wrong_content_is_refused_by_name(
    model_folder: Path, calibration: Calibration, certificate: Certificate, change: dict[str, Any], message: str
) -> None:
    certificate.save(model_folder)
    path = model_folder / FILE_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelFolderError, match=message):
        Certificate.load(model_folder, calibration)


@pytest.mark.parametrize(
    ("key", "value"),
    [("threshold", -0.1), ("threshold", "0.1"), ("num_missed", 1.5), ("risk_limit", 0), ("risk_upper_bound", True)],
)
def test_a_wrong_value_of_a_domain_is_refused(
    model_folder: Path, calibration: Calibration, certificate: Certificate, key: str, value: Any
) -> None:
    certificate.save(model_folder)
    path = model_folder / FILE_NAME
    content = json.loads(path.read_text())
    content["domains"]["legal"][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(ModelFolderError, match=f"domains.legal: {key} is"):
        Certificate.load(model_folder, calibration)


def test_applying_a_certificate_imports_neither_numpy_nor_torch() -> None:
    code = (
        "import sys, promethios.evaluation.certificate\n"
        "assert not {'numpy', 'torch', 'sklearn', 'scipy'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
