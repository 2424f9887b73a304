from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from promethios.data.example import Example
from promethios.data.folder import dataset_sha256
from promethios.evaluation.calibration import Calibration
from promethios.evaluation.certificate import Certificate
from promethios.evaluation.recalibration import CalibrationExamples, calibrate_and_certify
from promethios.ontology.governance_ontology import load_ontology


def domain_logits(examples: list[Example]) -> np.ndarray:
    """What a probe says that is always right: probability 0.9."""
    logits = np.zeros((len(examples), 32), np.float32)
    for row, example in zip(logits, examples, strict=True):
        row[load_ontology().domain(str(example.domain)).slot] = np.log(0.9 / (0.1 / 9))
    return logits


@pytest.fixture
def scores_as_known(monkeypatch: pytest.MonkeyPatch, model_scores: Callable[..., np.ndarray]) -> None:
    module = ModuleType("promethios.model.scoring")
    vars(module).update(
        LoadedModel=SimpleNamespace(load=lambda path: path),
        score_examples=lambda path, examples: model_scores(examples),
        probe_domains=lambda path, examples: domain_logits(examples),
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_no_example_fits_the_probabilities_and_tests_the_thresholds(
    make_examples: Callable[[int, str], list[Example]],
) -> None:
    examples = make_examples(100, "calibration")
    parts = CalibrationExamples.divide(examples)
    ids = [[example.id for example in part] for part in (parts.fit, parts.certify)]
    assert sorted(ids[0] + ids[1]) == sorted(example.id for example in examples)
    assert not set(ids[0]) & set(ids[1])
    assert Counter(example.domain for example in parts.fit) == dict.fromkeys(
        ("healthcare", "legal", "finance", "general"), 5
    )


def test_the_certificate_is_tested_with_the_domain_stated(make_examples: Callable[[int, str], list[Example]]) -> None:
    examples = make_examples(200, "calibration")
    parts = CalibrationExamples.divide(examples)
    assert any(example.header_domain is None for example in examples)
    assert any(example.header_domain is None for example in parts.fit), "as it comes"
    assert all(example.header_domain == example.domain for example in parts.certify)


@pytest.mark.usefixtures("scores_as_known")
def test_calibration_and_certificate_are_written_and_belong_together(model_folder: Path, dataset: Path) -> None:
    calibration, certificate = calibrate_and_certify(model_folder, dataset)
    assert Calibration.load(model_folder) == calibration
    assert Certificate.load(model_folder, calibration) == certificate
    assert calibration.dataset_sha256 == certificate.dataset_sha256 == dataset_sha256(dataset)
    assert calibration.num_examples == 320
    assert calibration.domain_probe_level == 0.5
    limits = {name: domain.risk_limit for name, domain in certificate.domains.items()}
    ontology = load_ontology()
    assert limits == {name: ontology.domain(name).risk_limit for name in ("finance", "general", "healthcare", "legal")}
    assert all(domain.num_examples == 320 and domain.threshold <= 0.4 for domain in certificate.domains.values())
    assert certificate.domains["general"].is_certified
    assert certificate.default_threshold == min(domain.threshold for domain in certificate.domains.values())
