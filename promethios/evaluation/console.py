"""The report on a terminal: a small table and the gates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from promethios.evaluation.domain_probe import domain_probe_line

TITLES: Final = {
    "hitl_accuracy": "HITL accuracy",
    "confidence_calibration": "Confidence calibration",
    "domain_compliance": "Domain compliance",
    "conflict_resolution": "Conflict resolution",
    "overall": "Overall governance score",
}

_SETS: Final = {
    "test": "In-domain",
    "held_out_domains": "Held-out domains",
    "held_out_values": "Held-out values",
    "held_out_wording": "Held-out wording",
}
_ROBUSTNESS: Final = (
    ("Conflict pairs, both members right", "conflict_pairs", "pair_accuracy"),
    ("Monotonicity violations", "monotonicity", "violations"),
    ("Stale invariance: decision stays", "stale_invariance", "decision_stays"),
    ("Bias pairs: decision flips", "bias_pairs", "flip_rate"),
    ("Header shuffled: accuracy", "header_shuffled", "accuracy"),
    ("Text removed: accuracy", "text_removed", "accuracy"),
    ("Tool probe: AUROC", "tool_probe", "auroc"),
)


def console_table(report: Mapping[str, Any]) -> str:
    """Return the scores, the comparison with the baselines and the gates as text for a terminal."""
    test, realised = report["test"], report["certificate"]["realised"]
    certified = {system["key"]: system["by_domain"] for system in report["certificate"]["at_common_risk"]}
    limit = f"{report['certificate']['common_risk_limit']:.0%}"
    lines = [
        f"{test['num_examples']} examples of {test['num_families']} scenario families; 95 % intervals in brackets",
        "",
        f"{'score':<28}{'model':<26}seed expects",
        *(_score_line(name, score) for name, score in report["scores"].items()),
        "",
        f"{'escalate or not':<38}{'accuracy':<24}{'gain of the model':<26}answered at {limit} certified risk",
        *(_system_line(system, certified.get(system["key"])) for system in test["systems"]),
        "",
        f"{'test set':<46}{'accuracy':<26}{'AUROC':<26}smECE",
        *(_set_line(title, report[name]) for name, title in _SETS.items() if name in report),
        "",
        f"{'as served':<46}{'answered':<26}missed, of all",
        *(_answer_line(title, realised[name]) for name, title in _SETS.items() if name in realised),
        "",
        "robustness",
        *_robustness_lines(report["robustness"]),
        "",
        domain_probe_line(report["domain_probe"]),
        "",
        *(f"{'ok  ' if gate['holds'] else 'FAIL'}  {gate_line(gate)}" for gate in report["gates"]),
    ]
    return "\n".join(line.rstrip() for line in lines)


def gate_line(gate: Mapping[str, Any]) -> str:
    """Return a gate as one phrase: key, requirement and what was measured."""
    return f"{gate['key']}: {gate['requirement']} (measured {number(gate['measured'])})"


def interval(estimate: Mapping[str, Any]) -> str:
    """Return `0.842 [0.821, 0.861]`, or `0.842` where the data define no interval."""
    if estimate["value"] is None or estimate["low"] is None:
        return number(estimate["value"])
    return f"{number(estimate['value'])} [{number(estimate['low'])}, {number(estimate['high'])}]"


def number(value: float | None) -> str:
    """Return a number with three decimals, `n/a` for what the data do not define."""
    return "n/a" if value is None else f"{value:.3f}"


def _score_line(name: str, score: Mapping[str, Any]) -> str:
    target = f"> {score['seed_target']:.2f}" if score["seed_target"] is not None else ""
    return f"{TITLES[name]:<28}{interval(score):<26}{target}"


def _set_line(title: str, evaluated: Mapping[str, Any]) -> str:
    measures = evaluated["systems"][0]["measures"]
    smooth_ece = evaluated["calibration"]["smooth_ece"]
    return f"{title:<46}{interval(measures['accuracy']):<26}{interval(measures['auroc']):<26}{interval(smooth_ece)}"


def _answer_line(title: str, measures: Mapping[str, Any]) -> str:
    return f"{title:<46}{interval(measures['auto_answered_share']):<26}{interval(measures['missed_share'])}"


def _robustness_lines(robustness: Mapping[str, Any]) -> Iterator[str]:
    for title, name, measure in _ROBUSTNESS:
        measures = robustness[name]
        yield f"{title:<46}{interval(measures[measure]) if measures else 'n/a: too few examples'}"
    spoofing = robustness["spoofing"]
    yield (
        f"{'Spoofing: attacks that succeed':<46}{spoofing['num_successes']} of {spoofing['num_clean_escalated']}, "
        f"at most {100 * spoofing['success_upper_bound']:.1f} % (95 %)"
    )


def _system_line(system: Mapping[str, Any], certified: Mapping[str, Any] | None) -> str:
    gain = interval(system["model_gains"]["accuracy"]) if system["model_gains"] else ""
    answered = interval(certified["auto_answered_share"]) if certified else ""
    return f"{system['title']:<38}{interval(system['measures']['accuracy']):<24}{gain:<26}{answered}"
