from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import pytest

from promethios.evaluation.report_html import GATE_REASONS, render_html


@pytest.fixture(scope="module")
def page(report: dict[str, Any]) -> str:
    return render_html(report)


def test_the_page_is_sound_accessible_and_loads_nothing(page: str, parsed_page: Callable[[str], Any]) -> None:
    parsed = parsed_page(page)
    assert parsed.tags.count("h1") == 1
    assert parsed.tags.count("section") == parsed.tags.count("h2") == len(parsed.values("href")) == 13


def test_every_gate_stands_on_the_page_with_requirement_outcome_and_reason(page: str, report: dict[str, Any]) -> None:
    for gate in report["gates"]:
        assert page.count(f"<code>{gate['key']}</code></th>") == 1
        assert escape(gate["requirement"]) in page
        assert GATE_REASONS[gate["key"]] in page
    failing = [gate["key"] for gate in report["gates"] if not gate["holds"]]
    assert {"no_raw_metrics", "readable"} <= set(failing)
    assert f"{len(failing)} of {len(report['gates'])} gates do not hold" in page
    gates = page[page.index('<section id="gates"') : page.index('<section id="scores"')]
    assert gates.count(" does not hold</span>") == len(failing)
    assert gates.rindex("does not hold</span>") < gates.index(" holds</span>"), "what does not hold comes first"


def test_a_model_that_passes_says_so(report: dict[str, Any]) -> None:
    gates = [{**gate, "holds": True} for gate in report["gates"]]
    page = render_html({**report, "passed": True, "gates": gates})
    assert f"All {len(gates)} gates hold" in page
    assert "should not be served" not in page


def test_what_a_model_or_a_user_wrote_is_escaped(page: str) -> None:
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "<nano>" not in page and "&lt;nano&gt;" in page
    assert "Only 200 examples &amp; no more." in page


def test_every_domain_stands_there_with_its_certificate(
    page: str, report: dict[str, Any], parsed_page: Callable[[str], Any]
) -> None:
    by_domain = page[page.index('<section id="by-domain"') : page.index('<section id="calibration"')]
    text = parsed_page(by_domain).text
    for item in report["domains"]:
        assert item["title"] in text
    for name, kept in report["certificate"]["realised_by_domain"].items():
        domain = report["certificate"]["domains"][name]
        assert f"{domain['threshold']:.3f}" in text
        assert f"limit {100 * domain['risk_limit']:.1f}" in text
        assert f"{kept['num_missed']} of {kept['num_examples']}" in text
    for part in report["text"]["by_domain"].values():
        assert f"of {part['num_responses']} responses" in text
    without = [name for name, domain in report["certificate"]["domains"].items() if not domain["threshold"]]
    assert "hr" in without
    assert text.count("none certified") == len(without)
    assert text.count("most careful") >= 2, "held-out domains have no certificate of their own"


def test_a_probe_with_too_few_examples_says_so(report: dict[str, Any]) -> None:
    names = ("conflict_pairs", "monotonicity", "stale_invariance", "bias_pairs", "tool_probe")
    robustness = {**report["robustness"], **dict.fromkeys(names)}
    assert render_html({**report, "robustness": robustness}).count("no measure: too few families") == len(names)


def test_an_undefined_measure_leaves_no_hole(report: dict[str, Any], parsed_page: Callable[[str], Any]) -> None:
    undefined = {"value": None, "low": None, "high": None}
    model, *others = report["test"]["systems"]
    measures = {**model["measures"], "auroc": undefined, "brier": undefined}
    test = {**report["test"], "systems": [{**model, "measures": measures}, *others]}
    assert "n/a" in parsed_page(render_html({**report, "test": test})).text


def test_self_questioning_is_shown_where_it_was_measured(report: dict[str, Any]) -> None:
    some, none = {"value": 0.25, "low": 0.2, "high": 0.3}, {"value": 0.0, "low": -0.1, "high": 0.1}
    found = {
        "num_examples": 200, "rounds_0": some, "rounds_1": some, "extra_tokens": some, "without": {"auroc": some},
        "with": {"auroc": some}, "gain": {"auroc": none}, "samples": [{"prompt": "Why?", "questions": ["Is <it> so?"]}],
    }  # fmt: skip
    page = render_html({**report, "self_questioning": found})
    assert "What it asks itself" in page and "Is &lt;it&gt; so?" in page
