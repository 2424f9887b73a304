from __future__ import annotations

import json
from typing import Any

import pytest

from promethios.evaluation.console import console_table, interval
from promethios.evaluation.intervals import Estimate
from promethios.evaluation.report import to_json, to_plain


def test_every_robustness_measure_is_there(report: dict[str, Any]) -> None:
    robustness = report["robustness"]
    assert set(robustness) == {
        "conflict_pairs", "monotonicity", "stale_invariance", "spoofing", "bias_pairs", "header_shuffled",
        "text_removed", "tool_probe",
    }  # fmt: skip
    assert all(robustness.values()), "none of them lacked examples"
    assert robustness["conflict_pairs"]["best_baseline"]["key"] not in ("model", "ceiling")
    assert robustness["tool_probe"]["auroc"]["value"] == 1.0
    assert robustness["monotonicity"]["violations"]["value"] == 0.0, "the stand-in does not look at the telemetry"


def test_the_certificate_stands_beside_what_it_came_to_and_what_others_could_promise(report: dict[str, Any]) -> None:
    part = report["certificate"]
    assert set(part["realised"]) == {"test", "held_out_domains"}
    assert part["common_risk_limit"] == 0.02
    keys = [system["key"] for system in part["at_common_risk"]]
    assert keys == [system["key"] for system in report["test"]["systems"]]
    never = part["at_common_risk"][keys.index("never")]
    assert never["pooled"]["auto_answered_share"]["value"] == 0.0, "at this risk it may answer nothing"
    assert any(note.startswith("No threshold could be certified in hr") for note in report["notes"])


def test_the_report_is_json_without_nan_and_survives_the_round_trip(report: dict[str, Any]) -> None:
    assert json.loads(to_json(report)) == report


def test_the_ceiling_is_shown_and_no_system_is_far_above_it(report: dict[str, Any]) -> None:
    accuracy = {system["key"]: system["measures"]["accuracy"]["value"] for system in report["test"]["systems"]}
    systems = list(accuracy)
    assert systems[0] == "model"
    assert systems[-1] == "ceiling"
    assert max(accuracy.values()) <= accuracy["ceiling"] + 0.05


def test_the_overall_score_is_the_mean_of_the_four(report: dict[str, Any]) -> None:
    values = {name: score["value"] for name, score in report["scores"].items()}
    overall = values.pop("overall")
    assert len(values) == 4
    assert overall == pytest.approx(sum(values.values()) / 4)


def test_every_leak_is_shown_among_the_samples(report: dict[str, Any]) -> None:
    assert sum(bool(sample["leaks"]) for sample in report["text"]["samples"]) == 20


def test_the_checks_that_a_domain_demands_are_counted_for_each_domain(report: dict[str, Any]) -> None:
    text = report["text"]
    assert sum(part["num_responses"] for part in text["by_domain"].values()) == text["num_responses"]
    kept = sum(part["num_responses"] * part["measures"]["keeps_checks"]["value"] for part in text["by_domain"].values())
    assert kept == pytest.approx(text["num_responses"] * text["measures"]["keeps_checks"]["value"])


def test_the_terminal_shows_scores_baselines_and_gates(report: dict[str, Any]) -> None:
    text = console_table(report)
    assert "Overall governance score" in text
    assert "Logistic regression on tags" in text
    assert "FAIL  no_raw_metrics" in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_an_undefined_estimate_is_shown_as_such() -> None:
    assert interval(to_plain(Estimate(float("nan"), float("nan"), float("nan")))) == "n/a"
    assert interval(Estimate(0.5, 0.25, 0.75).to_json()) == "0.500 [0.250, 0.750]"
