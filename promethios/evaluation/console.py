"""The report on a terminal: a small table and the gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

TITLES: Final = {
    "hitl_accuracy": "HITL accuracy",
    "confidence_calibration": "Confidence calibration",
    "domain_compliance": "Domain compliance",
    "conflict_resolution": "Conflict resolution",
    "overall": "Overall governance score",
}


def console_table(report: Mapping[str, Any]) -> str:
    """Return the scores, the comparison with the baselines and the gates as text for a terminal."""
    test = report["test"]
    lines = [
        f"{test['num_examples']} examples of {test['num_families']} scenario families; 95 % intervals in brackets",
        "",
        f"{'score':<28}{'model':<26}seed expects",
        *(_score_line(name, score) for name, score in report["scores"].items()),
        "",
        f"{'escalate or not':<46}{'accuracy':<26}model's gain",
        *(_system_line(system) for system in test["systems"]),
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


def _system_line(system: Mapping[str, Any]) -> str:
    gain = interval(system["model_gains"]["accuracy"]) if system["model_gains"] else ""
    return f"{system['title']:<46}{interval(system['measures']['accuracy']):<26}{gain}"
