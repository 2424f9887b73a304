from __future__ import annotations

from xml.etree import ElementTree

import pytest

from promethios.evaluation.console import number
from promethios.evaluation.interval_charts import Row, interval_bar, intervals_svg


def row(name: str, kind: str, value: float | None, half: float = 0.02) -> Row:
    ends = (None, None) if value is None else (value - half, value + half)
    return Row(name, kind, {"value": value, "low": ends[0], "high": ends[1]})


ROWS = [
    row("Ours", "model", 0.9),
    row("Good", "baseline", 0.85),
    row("Fair", "baseline", 0.8),
    row("Hopeless", "baseline", 0.1),
    row("Ceiling", "ceiling", 0.95),
]


def dots(svg: str) -> dict[str, list[str]]:
    """Return the classes of all marks by shape."""
    found: dict[str, list[str]] = {}
    for element in ElementTree.fromstring(svg).iter():
        if "dot" in element.get("class", "").split():
            found.setdefault(element.tag, []).append(element.get("class", "").removeprefix("dot "))
    return found


def test_one_bad_system_is_an_arrow_and_does_not_press_the_others_together() -> None:
    svg = intervals_svg("accuracy", "Accuracy", ROWS, number)
    assert dots(svg) == {"circle": ["model", "baseline", "baseline"], "polygon": ["off", "ceiling"]}
    places = [float(dot.get("cx", "")) for dot in ElementTree.fromstring(svg).iter("circle")]
    assert max(places) - min(places) > 100
    assert "Hopeless 0.100 (0.080 to 0.120)" in svg, "it is told in words"


def test_where_less_is_better_the_high_end_is_cut() -> None:
    costs = [row("Ours", "model", 0.1), row("Good", "baseline", 0.12), row("Bad", "baseline", 9.0)]
    svg = intervals_svg("cost", "Cost", costs, number, higher_is_better=False)
    assert dots(svg) == {"circle": ["model", "baseline"], "polygon": ["off"]}


def test_differences_have_a_line_at_zero_even_when_all_are_above() -> None:
    gains = [row("Good", "gain", 0.05, 0.01), row("Fair", "no-gain", 0.01)]
    root = ElementTree.fromstring(intervals_svg("gains", "Gains", gains, number))
    zeros = {line.get("x1") for line in root.iter("line") if line.get("class") == "reference zero"}
    assert len(zeros) == 1
    assert 0.0 < float(zeros.pop() or "") < float(next(root.iter("circle")).get("cx", ""))


def test_a_system_without_the_measure_has_no_row() -> None:
    svg = intervals_svg("auroc", "AUROC", [*ROWS, row("Silent", "compared", None)], number)
    assert "Silent" not in svg


def test_equal_values_without_intervals_are_drawn() -> None:
    bare = Row("Ours", "model", {"value": 1.0, "low": None, "high": None})
    assert dots(intervals_svg("x", "X", [bare], number)) == {"circle": ["model"]}


@pytest.mark.parametrize("target", [None, 0.8])
def test_a_bar_marks_the_target_where_there_is_one(target: float | None) -> None:
    bar = interval_bar({"value": 0.9, "low": 0.85, "high": 0.95, "seed_target": target})
    assert ('class="target"' in bar) == (target is not None)
    assert interval_bar({"value": None, "low": None, "high": None, "seed_target": target}) == ""
