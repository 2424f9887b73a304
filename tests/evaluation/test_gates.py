from __future__ import annotations

import math
from typing import Any

import pytest

from promethios.evaluation.gates import MIN_ATTACKS, MUST_BEAT, check_gates, release_gates
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


def releasable() -> dict[str, Any]:
    """A report that holds every gate of a release, each at its limit."""

    def part(accuracy: float, auroc: float, smooth_ece: float) -> dict[str, Any]:
        measures = {"accuracy": at(accuracy), "auroc": at(auroc)}
        return {"systems": [{"key": "model", "measures": measures}], "calibration": {"smooth_ece": at(smooth_ece)}}

    return {
        "test": part(0.88, 0.5, 0.03),
        "held_out_domains": part(0.5, 0.88, 0.08),
        "certificate": {"at_common_risk": [{"key": "model", "pooled": {"auto_answered_share": at(0.45)}}]},
        "robustness": {
            "conflict_pairs": {"accuracy": at(0.86), "pair_accuracy": at(0.75)},
            "header_shuffled": {"auroc": at(0.75), "level_auroc": at(0.74, 0.02)},
            "text_removed": {"auroc": at(0.72), "level_auroc": at(0.74, 0.02)},
        },
        "text": {"num_responses": 2000},
    }


def test_a_release_holds_its_gates_at_their_limits() -> None:
    gates = release_gates(releasable())
    assert [gate.key for gate in gates if not gate.holds] == []
    assert len({gate.key for gate in gates}) == len(gates) == 10


@pytest.mark.parametrize(
    ("place", "value", "gate"),
    [
        (("test", "systems", 0, "measures", "accuracy"), at(0.879), "release_accuracy"),
        (("held_out_domains", "systems", 0, "measures", "auroc"), at(0.879), "held_out_auroc"),
        (("held_out_domains", "systems", 0, "measures", "auroc"), NAN, "held_out_auroc"),
        (("test", "calibration", "smooth_ece"), at(0.031), "in_domain_smooth_ece"),
        (("held_out_domains", "calibration", "smooth_ece"), at(0.081), "held_out_smooth_ece"),
        (("certificate", "at_common_risk", 0, "pooled", "auto_answered_share"), at(0.449), "auto_answered"),
        (("robustness", "conflict_pairs", "accuracy"), at(0.859), "conflict_pairs"),
        (("robustness", "conflict_pairs", "pair_accuracy"), at(0.749), "conflict_pairs_whole"),
        (("robustness", "header_shuffled", "auroc"), at(0.77), "header_shuffled"),
        (("robustness", "text_removed", "auroc"), at(0.77), "text_removed"),
        (("robustness", "text_removed", "level_auroc"), NAN, "text_removed"),
        (("text", "num_responses"), 1999, "enough_responses"),
    ],
)
def test_each_gate_of_a_release_fails_alone(place: tuple[str | int, ...], value: Any, gate: str) -> None:
    report: Any = releasable()
    owner = report
    for name in place[:-1]:
        owner = owner[name]
    owner[place[-1]] = value
    assert {gate.key for gate in release_gates(report) if not gate.holds} == {gate}


def test_without_conflict_pairs_a_release_fails() -> None:
    report = releasable()
    report["robustness"]["conflict_pairs"] = None
    assert {gate.key for gate in release_gates(report) if not gate.holds} == {"conflict_pairs", "conflict_pairs_whole"}
