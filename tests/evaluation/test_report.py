from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from promethios.data.example import Example
from promethios.evaluation.baselines import fit_baselines
from promethios.evaluation.calibration import Calibration
from promethios.evaluation.console import console_table, interval
from promethios.evaluation.evaluated_set import EvaluatedSet
from promethios.evaluation.intervals import Estimate
from promethios.evaluation.report import Findings, build_report, to_json, to_plain
from promethios.evaluation.report_html import render_html
from promethios.evaluation.text_quality import ResponseJudge

VOID = {"meta", "br", "rect", "line", "circle", "polygon", "polyline"}


class StrictParser(HTMLParser):
    """Checks that every element is closed in order, and collects tags, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def report(
    make_examples: Callable[[int, str], list[Example]], model_scores: Callable[..., np.ndarray]
) -> dict[str, Any]:
    train, test = make_examples(400, "train"), make_examples(200, "test")
    held_out = make_examples(80, "test_held_out_domains")
    calibration = Calibration(
        weights_sha256="a" * 64,
        dataset_sha256="b" * 64,
        num_examples=100,
        slope=0.5,
        intercept=-0.5,
        domain_intercepts={"legal": 0.1},
        thresholds={"legal": 0.4},
        default_threshold=0.4,
    )
    baselines = fit_baselines(train)
    judge = ResponseJudge(train, test)
    findings = Findings(
        test=EvaluatedSet.of(test, model_scores(test), calibration, baselines, seed=0),
        held_out=EvaluatedSet.of(held_out, model_scores(held_out), calibration, baselines, seed=0),
        calibration=calibration,
        judged=judge.judge(test[:20], ["answer"] * 20, ["<script>alert('trust score')</script> & more."] * 20),
        reference=judge.judge(test, [e.decision for e in test], [e.response for e in test]),
        ceilings={"seed": 0, "test": {"ceilings": {"both": {"auroc": 0.95}}}},
        provenance={"model_path": "runs/<nano>", "command": "promethios evaluate --model_path 'runs/<nano>'"},
        notes=["Only 200 examples & no more."],
    )
    return build_report(findings)


@pytest.fixture(scope="module")
def page(report: dict[str, Any]) -> str:
    return render_html(report)


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


def test_the_page_is_well_formed(page: str) -> None:
    parser = StrictParser()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    assert parser.tags.count("section") == 10
    ids = [value for name, value in parser.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    references = {part for name, value in parser.attributes if name == "aria-labelledby" for part in str(value).split()}
    assert references <= set(ids)


def test_the_page_loads_nothing(page: str) -> None:
    parser = StrictParser()
    parser.feed(page)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(parser.tags)
    assert not {"src", "href", "xlink:href", "srcset", "action"} & {name for name, _ in parser.attributes}
    assert not re.search(r"https?://|url\(|@import|//[a-z]", page)


def test_what_a_model_or_a_user_wrote_is_escaped(page: str) -> None:
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "runs/<nano>" not in page and "&lt;nano&gt;" in page
    assert "Only 200 examples &amp; no more." in page


def test_the_page_names_what_the_gates_say(page: str, report: dict[str, Any]) -> None:
    failing = [gate for gate in report["gates"] if not gate["holds"]]
    assert {"no_raw_metrics", "readable"} <= {gate["key"] for gate in failing}
    assert f"{len(failing)} of {len(report['gates'])} gates do not hold" in page
    assert page.count(">does not hold<") == len(failing)


def test_every_leak_is_shown_among_the_samples(report: dict[str, Any]) -> None:
    assert sum(bool(sample["leaks"]) for sample in report["text"]["samples"]) == 20


def test_the_terminal_shows_scores_baselines_and_gates(report: dict[str, Any]) -> None:
    text = console_table(report)
    assert "Overall governance score" in text
    assert "Logistic regression on tags" in text
    assert "FAIL  no_raw_metrics" in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_an_undefined_estimate_is_shown_as_such() -> None:
    assert interval(to_plain(Estimate(float("nan"), float("nan"), float("nan")))) == "n/a"
    assert interval(Estimate(0.5, 0.25, 0.75).to_json()) == "0.500 [0.250, 0.750]"
