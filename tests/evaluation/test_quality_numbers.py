"""What bench/quality_numbers.py records of an evaluation report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import what bench/ imports, as a script there does."""
    monkeypatch.syspath_prepend(BENCH)
    import quality_numbers
    import table

    yield quality_numbers, table
    for name in ("quality_numbers", "table"):
        sys.modules.pop(name)


@pytest.fixture
def numbers(bench: Any, report: dict[str, Any]) -> dict[str, dict[str, float]]:
    whole = {**report, "held_out_values": report["test"], "held_out_wording": report["held_out_domains"]}
    found: dict[str, dict[str, float]] = bench[0].quality_numbers(whole)
    return found


def test_every_number_is_an_estimate_and_every_row_of_the_table_has_one(bench: Any, numbers: dict[str, Any]) -> None:
    assert all(set(number) >= {"value", "low", "high"} for number in numbers.values())
    assert set(bench[1].QUALITY.values()) <= set(numbers)


def test_the_two_rules_and_the_three_promises_are_told_apart(numbers: dict[str, Any], report: dict[str, Any]) -> None:
    measures = report["test"]["systems"][0]["measures"]
    assert numbers["in-domain: accuracy"] == measures["accuracy_at_threshold"]
    assert numbers["in-domain: accuracy as served"] == measures["accuracy"]
    assert numbers["in-domain, signals in conflict: accuracy as served"] == report["test"]["conflicts"]["score"]
    answered = {name: value for name, value in numbers.items() if name.startswith("auto-answered")}
    served = report["certificate"]["realised"]["test"]["auto_answered_share"]
    assert answered["auto-answered as served, each domain certified at its own limit"] == served
    assert len(answered) == len({str(value) for value in answered.values()}) == 3


def test_the_best_baseline_is_the_best_one_of_each_set(numbers: dict[str, Any], report: dict[str, Any]) -> None:
    for name, part in (("", report["test"]), ("held-out wording: ", report["held_out_domains"])):
        gains = [
            system["model_gains"]["accuracy_at_threshold"]["value"]
            for system in part["systems"]
            if system["kind"] == "baseline"
        ]
        assert numbers[f"{name}gain over the best tuned baseline"]["value"] == min(gains)
