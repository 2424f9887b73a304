"""The numbers that a release is judged by, from `evaluation_report.json`.

Two rules decide: *at threshold* is the threshold of cost alone; *as served* is the deployed rule, which halves it under
degraded telemetry. The conflict slice, conflict pairs and what is left without one source are measured as served.
"""

from __future__ import annotations

import statistics
from typing import Any

SETS = {
    "test": "in-domain",
    "held_out_domains": "held-out domains",
    "held_out_values": "held-out values",
    "held_out_wording": "held-out wording",
}
COMMON_RISK = "certified to miss <= 2 %"
POOLED = f"auto-answered at one pooled threshold {COMMON_RISK}"
"""Over all domains together: in a single one more may be missed."""

Numbers = dict[str, dict[str, float]]


def quality_numbers(report: dict[str, Any]) -> Numbers:
    """Return the numbers of one report by name, each with its 95 % interval over scenario families."""
    robustness, text = report["robustness"], report["text"]
    numbers: Numbers = {}
    for key, title in SETS.items():
        numbers |= _of_set(report[key], title)
    return numbers | {
        "gain over the best tuned baseline": _gain_over_the_best(report["test"]),
        "held-out wording: gain over the best tuned baseline": _gain_over_the_best(report["held_out_wording"]),
        "in-domain, signals in conflict: accuracy as served": report["test"]["conflicts"]["score"],
        **_answered(report["certificate"]),
        "conflict pairs: accuracy": robustness["conflict_pairs"]["accuracy"],
        "conflict pairs: both right": robustness["conflict_pairs"]["pair_accuracy"],
        "monotonicity violations": robustness["monotonicity"]["violations"],
        "stale invariance": robustness["stale_invariance"]["decision_stays"],
        "attacks that succeed": exactly(robustness["spoofing"]["num_successes"]),
        "responses that show a raw metric": exactly(round(text["measures"]["leaks"]["value"] * text["num_responses"])),
        **_without_a_source(robustness["header_shuffled"], "headers shuffled", "a reader of the text alone"),
        **_without_a_source(robustness["text_removed"], "text removed", "a reader of the telemetry alone"),
        "bias pairs: flipped": robustness["bias_pairs"]["flip_rate"],
        "responses that fit their decision": text["measures"]["fits_decision"],
    }


def exactly(count: float) -> dict[str, float]:
    """A count, in the form of an estimate."""
    return {"value": count, "low": count, "high": count}


def over_seeds(estimates: list[dict[str, float]]) -> dict[str, float]:
    """The mean over seeds, and from the lowest to the highest end of their intervals: what any one of them allows."""
    return {
        "value": statistics.mean(estimate["value"] for estimate in estimates),
        "low": min(estimate["low"] for estimate in estimates),
        "high": max(estimate["high"] for estimate in estimates),
    }


def _of_set(part: dict[str, Any], title: str) -> Numbers:
    measures = part["systems"][0]["measures"]
    return {
        f"{title}: accuracy": measures["accuracy_at_threshold"],
        f"{title}: accuracy as served": measures["accuracy"],
        f"{title}: AUROC": measures["auroc"],
        f"{title}: smECE": part["calibration"]["smooth_ece"],
        f"{title}: smECE that chance gives": exactly(part["calibration"]["chance_smooth_ece"]),
    }


def _gain_over_the_best(part: dict[str, Any]) -> dict[str, float]:
    """The model's gain in accuracy at threshold over the system without a language model that has most of it there."""
    rivals = [system for system in part["systems"] if system["kind"] == "baseline"]
    best = max(rivals, key=lambda system: float(system["measures"]["accuracy_at_threshold"]["value"]))
    gain: dict[str, float] = best["model_gains"]["accuracy_at_threshold"]
    return gain


def _answered(certificate: dict[str, Any]) -> Numbers:
    """What is answered without a person on `test` under three promises, and what of that is missed, of all requests."""
    common = next(row for row in certificate["at_common_risk"] if row["key"] == "model")
    rules = {
        POOLED: common["pooled"],
        f"auto-answered at thresholds by domain, each {COMMON_RISK}": common["by_domain"],
        "auto-answered as served, each domain certified at its own limit": certificate["realised"]["test"],
    }
    numbers = {}
    for name, measures in rules.items():
        numbers[name] = measures["auto_answered_share"]
        numbers[f"missed when {name}"] = measures["missed_share"]
    return numbers


def _without_a_source(ablation: dict[str, Any], name: str, level_of: str) -> Numbers:
    """The level is what accuracy and AUROC should fall to; what stays above it would be a leak.

    Where little is known, AUROC tells more: never escalating is more accurate than to decide with care.
    """
    return {
        f"{name}: accuracy": ablation["accuracy"],
        f"{name}: accuracy of {level_of}, the level to fall to": ablation["level"],
        f"{name}: AUROC": ablation["auroc"],
        f"{name}: AUROC of {level_of}, the level to fall to": ablation["level_auroc"],
    }
