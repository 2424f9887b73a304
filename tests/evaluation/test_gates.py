from __future__ import annotations

import math
from typing import Any

import pytest

from promethios.evaluation.gates import MUST_BEAT, check_gates
from promethios.evaluation.intervals import Estimate

NAN = Estimate(math.nan, math.nan, math.nan)


def at(value: float, spread: float = 0.01) -> Estimate:
    return Estimate(value, value - spread, value + spread)


def good() -> dict[str, Any]:
    return {
        "gains": {key: {"accuracy": at(0.1), "accuracy_at_threshold": at(0.1)} for key in MUST_BEAT},
        "hitl_accuracy": at(0.9),
        "ece": at(0.02),
        "compliance": at(1.0),
        "text": {"leaks": at(0.0), "readable": at(0.97), "fits_decision": at(0.95), "keeps_checks": at(0.5)},
    }


def failing(measures: dict[str, Any]) -> set[str]:
    return {gate.key for gate in check_gates(**measures) if not gate.holds}


def test_a_good_model_passes_every_gate() -> None:
    assert failing(good()) == set()


@pytest.mark.parametrize("baseline", list(MUST_BEAT))
@pytest.mark.parametrize("rule", ["accuracy", "accuracy_at_threshold"])
def test_a_gain_whose_interval_touches_zero_fails_under_either_rule(baseline: str, rule: str) -> None:
    measures = good()
    measures["gains"][baseline][rule] = Estimate(0.03, 0.0, 0.06)
    assert failing(measures) == {f"beats_{baseline}"}


@pytest.mark.parametrize(
    ("key", "value", "gate"),
    [
        ("hitl_accuracy", at(0.80), "hitl_accuracy"),
        ("ece", at(0.051), "calibration"),
        ("compliance", at(0.70), "domain_compliance"),
        ("hitl_accuracy", NAN, "hitl_accuracy"),
        ("ece", NAN, "calibration"),
        ("compliance", NAN, "domain_compliance"),
    ],
)
def test_each_measure_has_its_gate(key: str, value: Estimate, gate: str) -> None:
    assert failing({**good(), key: value}) == {gate}


@pytest.mark.parametrize(
    ("key", "value", "gate"),
    [
        ("leaks", at(0.005), "no_raw_metrics"),
        ("readable", at(0.89), "readable"),
        ("fits_decision", at(0.89), "fits_decision"),
        ("leaks", NAN, "no_raw_metrics"),
    ],
)
def test_each_text_measure_has_its_gate(key: str, value: Estimate, gate: str) -> None:
    measures = good()
    measures["text"][key] = value
    assert failing(measures) == {gate}


def test_an_undefined_gain_holds_no_gate_and_is_null_in_json() -> None:
    measures = good()
    measures["gains"]["tags"]["accuracy"] = NAN
    gate = next(gate for gate in check_gates(**measures) if gate.key == "beats_tags")
    assert not gate.holds
    assert gate.to_json()["measured"] is None
