"""How the report's page speaks of the test sets and of the systems compared on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

SET_TITLES: Final = {
    "test": "Test",
    "held_out_domains": "New domains",
    "held_out_values": "New values",
    "held_out_wording": "New wording",
}


def test_sets(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the report's part on each test set that it has, by name, the in-domain one first."""
    return {name: report[name] for name in SET_TITLES if name in report}


def of_kind(part: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    """Return the systems of one kind (`model`, `baseline`, `compared`, `ceiling`) on a test set."""
    return [system for system in part["systems"] if system["kind"] == kind]


def best_baseline(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the most accurate system on a test set that is no language model."""
    return max(of_kind(part, "baseline"), key=lambda system: system["measures"]["accuracy"]["value"])
