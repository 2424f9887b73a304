from __future__ import annotations

import math
from typing import Any

import pytest

from promethios.evaluation.gates import MIN_ATTACKS, MUST_BEAT, check_gates
from promethios.evaluation.intervals import Estimate, clopper_pearson_upper

NAN = Estimate(math.nan, math.nan, math.nan)


def at(value: float, spread: float = 0.01) -> Estimate:
    return Estimate(value, value - spread, value + spread)


def good() -> dict[str, Any]:
    return {
        "gains": {key: {"accuracy": at(0.1), "accuracy_at_threshold": at(0.1)} for key in MUST_BEAT},
        "hitl_accuracy": at(0.9),
        "ece": at(0.02),
        "best_baseline": "tags",
        "compliance": at(1.0),
        "promises_kept": [True, True],
        "robustness": {
            "monotonicity": {"violations": at(0.01)},
            "stale_invariance": {"decision_stays": at(0.95)},
            "spoofing": {"num_clean_escalated": MIN_ATTACKS, "success_share": 0.0},
        },
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
    best = {"beats_best"} if baseline == measures["best_baseline"] else set()
    assert failing(measures) == {f"beats_{baseline}", *best}


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


def test_the_best_baseline_has_to_be_beaten_whichever_it_is() -> None:
    measures = good() | {"best_baseline": "text_and_tags"}
    measures["gains"]["text_and_tags"] = {"accuracy": at(0.005), "accuracy_at_threshold": at(0.1)}
    assert failing(measures) == {"beats_best"}


@pytest.mark.parametrize("kept", [[], [True, False]])
def test_a_broken_promise_and_none_at_all_fail_the_certificate(kept: list[bool]) -> None:
    assert failing({**good(), "promises_kept": kept}) == {"certificate"}


@pytest.mark.parametrize(
    ("measure", "value", "gate"),
    [
        ("monotonicity", {"violations": at(0.031)}, "monotonicity"),
        ("monotonicity", None, "monotonicity"),
        ("stale_invariance", {"decision_stays": at(0.89)}, "stale_invariance"),
        ("stale_invariance", None, "stale_invariance"),
        ("spoofing", {"num_clean_escalated": 500, "success_share": 0.012}, "spoofing"),
        ("spoofing", {"num_clean_escalated": MIN_ATTACKS - 1, "success_share": 0.0}, "spoofing"),
    ],
)
def test_each_robustness_measure_has_its_gate_and_needs_evidence(measure: str, value: Any, gate: str) -> None:
    measures = good()
    measures["robustness"][measure] = value
    assert failing(measures) == {gate}


def test_the_fewest_attacks_that_count_show_less_than_five_in_a_hundred() -> None:
    assert clopper_pearson_upper(0, MIN_ATTACKS) <= 0.05 < clopper_pearson_upper(0, MIN_ATTACKS - 1)


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
