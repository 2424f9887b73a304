"""What is possible from telemetry, from text, from both: neither alone suffices, and no rule on tags comes close."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from promethios.data.ceilings import auroc, ceilings, natural_shares, quota_ratio, telemetry_only, text_only
from promethios.data.mixture import Candidates, Split


@pytest.fixture(scope="module")
def in_test(test_split: Split, candidates: Candidates) -> dict[str, Any]:
    return ceilings(test_split, candidates[np.arange(6000)])


def test_the_ceilings_are_where_the_design_wants_them(in_test: dict[str, Any]) -> None:
    accuracy = {source: scores["accuracy_at_0.5"] for source, scores in in_test["ceilings"].items()}
    assert 0.72 < accuracy["telemetry_only"] < 0.77
    assert 0.83 < accuracy["text_only"] < 0.87
    assert 0.93 < accuracy["both"] < 0.95
    assert in_test["ceilings"]["both"]["auroc"] > 0.97
    assert 0.26 < in_test["outcome_base_rate"] < 0.32
    assert in_test["decision_base_rate"] == pytest.approx(0.3, abs=0.01)


def test_no_rule_on_the_tags_reaches_what_telemetry_allows(in_test: dict[str, Any]) -> None:
    best_rule = max(in_test["rules"].values())
    assert best_rule < in_test["ceilings"]["telemetry_only"]["accuracy_at_0.5"] - 0.02
    assert best_rule < 0.75


@pytest.mark.parametrize("source", [telemetry_only, text_only])
def test_a_partial_view_is_calibrated_too(test_split: Split, candidates: Candidates, source: Any) -> None:
    # Calibration against outcomes is what tells a right posterior from a wrong one.
    candidates = candidates[np.arange(8000)]
    p = source(test_split, candidates, quota_ratio(test_split, natural_shares(test_split)))
    for low, high in ((0.0, 0.1), (0.1, 0.2), (0.2, 0.35), (0.35, 0.5), (0.5, 0.7), (0.7, 1.0)):
        rows = (p >= low) & (p < high)
        assert rows.sum() > 100
        error = 4 * np.sqrt(p[rows].mean() * (1 - p[rows].mean()) / rows.sum()) + 0.005
        assert abs(candidates.outcome[rows].mean() - p[rows].mean()) < error, (low, high)


def test_auroc_counts_ties_half() -> None:
    assert auroc(np.array([0.1, 0.9]), np.array([0, 1])) == 1.0
    assert auroc(np.array([0.5, 0.5]), np.array([0, 1])) == 0.5
    assert auroc(np.array([0.9, 0.1, 0.9]), np.array([0, 1, 1])) == 0.25
