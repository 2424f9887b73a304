from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promethios.errors import ModelFolderError
from promethios.evaluation.calibration import FILE_NAME, Calibration, escalation_log_odds
from promethios.evaluation.calibration_fit import MIN_SLOPE, fit_calibration
from promethios.model.folder import weights_sha256

LOGITS = st.lists(st.floats(-40.0, 40.0, width=32), min_size=18, max_size=18)


def calibration(**changes: Any) -> Calibration:
    values: dict[str, Any] = {
        "weights_sha256": "0" * 64,
        "dataset_sha256": "1" * 64,
        "num_examples": 10,
        "slope": 0.7,
        "intercept": -0.3,
        "domain_intercepts": {"legal": 0.5},
        "thresholds": {"legal": 0.3},
        "default_threshold": 0.4,
    }
    return Calibration(**{**values, **changes})


@given(LOGITS)
def test_probabilities_sum_to_one(scores: list[float]) -> None:
    probabilities = calibration().probabilities(scores, "legal")
    assert sum(probabilities) == pytest.approx(1.0)
    assert min(probabilities) >= 0.0


@given(LOGITS, st.floats(0.01, 30.0))
def test_escalation_never_falls_when_its_logit_rises(scores: list[float], rise: float) -> None:
    raised = [*scores[:3], scores[3] + rise, *scores[4:]]
    assert calibration().probabilities(raised, None)[3] >= calibration().probabilities(scores, None)[3]


def test_the_other_decisions_keep_their_proportions() -> None:
    scores = [2.0, 1.0, -1.0, 0.5, *[0.0] * 14]
    answer, caveat, clarify, _ = calibration().probabilities(scores, None)
    assert answer / caveat == pytest.approx(math.e)
    assert caveat / clarify == pytest.approx(math.exp(2.0))


def test_slope_one_and_intercept_zero_is_the_models_own_softmax() -> None:
    scores = [2.0, 1.0, -1.0, 0.5, *[0.0] * 14]
    plain = calibration(slope=1.0, intercept=0.0, domain_intercepts={})
    softmax = np.exp(scores[:4]) / np.exp(scores[:4]).sum()
    assert plain.probabilities(scores, "legal") == pytest.approx(softmax)


def test_extreme_scores_do_not_overflow() -> None:
    scores = [-1e4, 1e4, 0.0, -1e4, *[0.0] * 14]
    assert calibration().probabilities(scores, None) == pytest.approx((0.0, 1.0, 0.0, 0.0))


def test_unknown_and_absent_domains_use_what_all_domains_share() -> None:
    scores = [0.0] * 18
    of = calibration()
    assert of.probabilities(scores, "insurance") == of.probabilities(scores, None) != of.probabilities(scores, "legal")
    assert of.threshold("insurance") == of.threshold(None) == 0.4
    assert of.threshold("legal") == 0.3


def test_fit_recovers_slope_and_intercepts() -> None:
    rng = np.random.default_rng(0)
    log_odds = rng.normal(0.0, 3.0, 40_000)
    domains = [("legal", "finance", None)[i % 3] for i in range(40_000)]
    shift = np.array([{"legal": 0.4, "finance": -0.4, None: 0.0}[domain] for domain in domains])
    escalated = rng.random(40_000) < 1.0 / (1.0 + np.exp(-(0.6 * log_odds - 0.8 + shift)))
    fitted = fit_calibration(log_odds, escalated, domains)
    assert fitted.slope == pytest.approx(0.6, abs=0.02)
    assert fitted.intercept == pytest.approx(-0.8, abs=0.06)
    assert fitted.domain_intercepts == pytest.approx({"legal": 0.4, "finance": -0.4}, abs=0.08)


def test_a_domain_with_little_evidence_stays_near_the_shared_intercept() -> None:
    rng = np.random.default_rng(1)
    log_odds = rng.normal(0.0, 2.0, 2003)
    escalated = rng.random(2003) < 1.0 / (1.0 + np.exp(-log_odds))
    escalated[-3:] = True
    log_odds[-3:] = -2.0
    fitted = fit_calibration(log_odds, escalated, [*["legal"] * 2000, *["finance"] * 3])
    assert 0.0 < fitted.domain_intercepts["finance"] < 0.3


@pytest.mark.parametrize("num", [1, 5, 400])
def test_a_separable_sample_gives_finite_parameters(num: int) -> None:
    log_odds = np.linspace(-3.0, 3.0, num)
    fitted = fit_calibration(log_odds, log_odds > 0.0, [None] * num)
    assert math.isfinite(fitted.slope) and fitted.slope > 0.0


def test_a_score_that_misleads_keeps_its_order_and_loses_its_weight() -> None:
    rng = np.random.default_rng(2)
    log_odds = rng.normal(0.0, 2.0, 3000)
    escalated = rng.random(3000) < 1.0 / (1.0 + np.exp(log_odds + 1.0))
    fitted = fit_calibration(log_odds, escalated, [None] * 3000)
    assert fitted.slope == MIN_SLOPE
    assert 1.0 / (1.0 + math.exp(-fitted.intercept)) == pytest.approx(escalated.mean(), abs=0.02)


def test_log_odds_compare_escalation_with_the_rest_together() -> None:
    scores = [0.3, -1.2, 2.0, 0.9]
    softmax = np.exp(scores) / np.exp(scores).sum()
    assert escalation_log_odds(scores) == pytest.approx(math.log(softmax[3] / (1.0 - softmax[3])))


def test_what_is_saved_is_loaded(model_folder: Path) -> None:
    saved = calibration(weights_sha256=weights_sha256(model_folder))
    saved.save(model_folder)
    assert Calibration.load(model_folder) == saved
    assert sorted(path.name for path in model_folder.iterdir() if "calibration" in path.name) == [FILE_NAME]


def test_a_calibration_from_before_the_domain_probe_never_believes_one(model_folder: Path) -> None:
    calibration(weights_sha256=weights_sha256(model_folder)).save(model_folder)
    path = model_folder / FILE_NAME
    content = json.loads(path.read_text())
    del content["domain_probe_level"]
    path.write_text(json.dumps(content))
    loaded = Calibration.load(model_folder)
    assert loaded.domain_probe_level is None
    assert loaded.probed_domain({"legal": 100.0, "finance": 0.0}) is None


def test_a_missing_calibration_says_what_to_run(model_folder: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"governance_calibration.json is missing; run `promethios evaluate"):
        Calibration.load(model_folder)


def test_a_calibration_of_other_weights_is_refused_with_both_hashes(model_folder: Path) -> None:
    before = weights_sha256(model_folder)
    calibration(weights_sha256=before).save(model_folder)
    (model_folder / "model.safetensors").write_bytes(b"other weights")
    after = weights_sha256(model_folder)
    with pytest.raises(ModelFolderError, match=rf"{before[:12]}.*{after[:12]}.*promethios evaluate"):
        Calibration.load(model_folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slope": 0}, "slope is 0; it must be a number above 0"),
        ({"slope": True}, "slope is True"),
        ({"intercept": "x"}, "intercept is 'x'"),
        ({"thresholds": {"legal": 1.5}}, "thresholds is"),
        ({"domain_intercepts": [1]}, "domain_intercepts is"),
        ({"default_threshold": 0.0}, "default_threshold is 0.0"),
        (
            {"domain_probe_level": 1.0},
            "domain_probe_level is 1.0; it must be a probability above 0 and below 1, or null",
        ),
        ({"num_examples": 0}, "num_examples is 0"),
        ({"weights_sha256": "abc"}, "64 hexadecimal digits"),
        ({"format_version": 2}, "format_version must be 1"),
        ({"method": "isotonic"}, "method must be"),
        ({"surplus": 1}, r"missing or unknown key\(s\): surplus"),
    ],
)
def test_wrong_content_is_refused_by_name(model_folder: Path, change: dict[str, Any], message: str) -> None:
    calibration(weights_sha256=weights_sha256(model_folder)).save(model_folder)
    path = model_folder / FILE_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelFolderError, match=message):
        Calibration.load(model_folder)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b"null", b""])
def test_corrupt_content_is_refused(model_folder: Path, content: bytes) -> None:
    (model_folder / FILE_NAME).write_bytes(content)
    with pytest.raises(ModelFolderError, match=FILE_NAME):
        Calibration.load(model_folder)


@pytest.mark.parametrize("number", ["NaN", "Infinity"])
def test_numbers_that_json_does_not_know_are_refused(model_folder: Path, number: str) -> None:
    calibration(weights_sha256=weights_sha256(model_folder)).save(model_folder)
    path = model_folder / FILE_NAME
    path.write_text(path.read_text().replace("-0.3", number))
    with pytest.raises(ModelFolderError, match="intercept is"):
        Calibration.load(model_folder)


def test_applying_a_calibration_imports_neither_numpy_nor_torch() -> None:
    code = (
        "import sys, promethios.evaluation.calibration\n"
        "assert not {'numpy', 'torch', 'sklearn', 'scipy'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
