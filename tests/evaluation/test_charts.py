from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from promethios.evaluation.charts import reliability_svg, risk_coverage_key, risk_coverage_svg


def curve(key: str, kind: str, risk: list[float]) -> dict[str, Any]:
    coverage = [0.25, 0.5, 1.0]
    band = {"low": [max(0.0, value - 0.01) for value in risk], "high": [value + 0.01 for value in risk]}
    return {"key": key, "title": key.title(), "kind": kind, "coverage": coverage, "risk": risk, **band}


CURVES = [curve("model", "model", [0.0, 0.02, 0.28]), curve("tags", "baseline", [0.05, 0.15, 0.28])]


def drawn(certified: dict[str, tuple[float, float]]) -> ElementTree.Element:
    return ElementTree.fromstring(risk_coverage_svg(CURVES, served=(0.5, 0.02), certified=certified))


def test_each_curve_and_certified_point_is_drawn_once() -> None:
    root = drawn({"model": (0.5, 0.02), "tags": (0.25, 0.05), "never": (0.0, 0.0)})
    assert [line.get("class") for line in root.iter("polyline")] == ["curve baseline", "curve model"]
    marks = [group.get("class") for group in root.iter("g")]
    assert marks == ["certified model", "certified baseline", "served"]


def test_the_served_point_lies_on_the_curve_that_it_belongs_to() -> None:
    root = drawn({"model": (0.5, 0.02)})
    points = next(line for line in root.iter("polyline") if line.get("class") == "curve model").get("points", "")
    circle = next(root.iter("circle"))
    assert f"{circle.get('cx')},{circle.get('cy')}" in points.split()


def test_what_the_curves_show_is_said_in_words() -> None:
    text = drawn({}).findtext("desc", "").replace("\u00a0", " ")
    assert "Model answers 50.0 % and misses 2.0 % of these" in text
    assert "Tags: missed 15.0 % at 50 % answered" in text


def test_curves_that_never_miss_still_have_an_axis() -> None:
    perfect = [curve("model", "model", [0.0, 0.0, 0.0])]
    root = ElementTree.fromstring(risk_coverage_svg(perfect, served=(0.0, 0.0), certified={}))
    assert "4\u00a0%" in [text.text for text in root.iter("text")]


def test_the_key_names_every_curve_and_the_common_limit() -> None:
    key = risk_coverage_key(CURVES, 0.02)
    assert "Model, with 95" in key and "Tags" in key
    assert "2\u00a0% of all" in key


@pytest.mark.parametrize("name", ["reliability", "reliability-held-out"])
def test_a_reliability_diagram_draws_bins_band_and_histogram(name: str) -> None:
    reliability = {
        "bins": [{"count": 10, "probability": 0.2, "frequency": 0.3, "low": 0.1, "high": 0.6}],
        "grid": [0.1, 0.2, 0.3], "curve": [0.1, 0.2, 0.3], "low": [0.0, 0.1, 0.2], "high": [0.2, 0.3, 0.4],
        "histogram": [0, 10, 0, 0],
    }  # fmt: skip
    root = ElementTree.fromstring(reliability_svg(reliability, name))
    assert root.get("aria-labelledby") == f"{name}-title {name}-text"
    assert [group.get("class") for group in root.iter("g")].count("bin") == 1
    assert len([rect for rect in root.iter("rect") if rect.get("class") == "count"]) == 4
    assert len(next(root.iter("polygon")).get("points", "").split()) == 6
