"""Dashboards and alerts ask for metrics that engine, hub and the pinned vLLM really have, and say what they should."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.rendered import CHART, objects
from tests.manifests.test_schemas import check

SERVING = CHART.parents[1] / "serving"
ALERTS = CHART / "alerts.yaml"
ALERT_TESTS = Path(__file__).with_name("alerts_test.yaml")
DASHBOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (CHART / "dashboards").glob("*.json")}
WATCHED = CHART / "ci" / "cuda-pvc-values.yaml"
METRIC = re.compile(r"\b(?:promethios_|vllm:)\w+\b")
SUFFIX = re.compile("_(bucket|sum|count)$")
NOT_SHOWN = {"promethios_shadow_requests_total"}
"""Of wrapped mode, which the chart does not install."""


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


def expressions(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def declared() -> set[str]:
    """Return the names of our metrics, read from the source, and of vLLM's, from its own."""
    kinds = {"Counter", "Gauge", "Histogram"}
    names = set()
    for module in (SERVING / "promethios_serving" / "metrics.py", SERVING / "promethios_hub" / "metrics.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in kinds:
                assert isinstance(node.args[0], ast.Constant)
                names.add(node.args[0].value)
    return names


def of_vllm() -> set[str]:
    """Return the metric names in the installed vLLM's source: of the version that is pinned."""
    spec = __import__("importlib.util").util.find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vLLM is not installed")
    source = (Path(spec.origin).parent / "v1" / "metrics" / "loggers.py").read_text(encoding="utf-8")
    names = set(re.findall(r'name="(vllm:\w+)"', source))
    counters = set(re.findall(r'_counter_cls\(\s*name="(vllm:\w+)"', source))
    return {f"{name}_total" if name in counters else name for name in names}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_metrics_that_exist_and_has_a_runbook(rule: dict[str, Any]) -> None:
    asked = {SUFFIX.sub("", name) for name in METRIC.findall(rule["expr"])}
    assert asked and asked <= declared() | of_vllm()
    assert re.search(rf"^## {rule['alert']}$", (CHART / "RUNBOOK.md").read_text(encoding="utf-8"), re.M)


def test_every_rendered_alert_points_to_its_runbook() -> None:
    rendered = next(each for each in objects(WATCHED) if each["kind"] == "PrometheusRule")
    found = {rule["alert"]: rule for group in rendered["spec"]["groups"] for rule in group["rules"]}
    assert set(found) == {rule["alert"] for rule in rules()}
    for name, rule in found.items():
        assert rule["annotations"]["runbook_url"].endswith(f"RUNBOOK.md#{name.lower()}")
        assert "$labels" in rule["annotations"]["summary"], "helm must leave Prometheus' templates alone"


def test_the_rules_are_what_the_operator_takes() -> None:
    check(next(each for each in objects(WATCHED) if each["kind"] == "PrometheusRule"))


def test_the_dashboards_ask_for_metrics_that_exist_and_show_all_of_ours() -> None:
    asked = {
        SUFFIX.sub("", name) for board in DASHBOARDS.values() for e in expressions(board) for name in METRIC.findall(e)
    }
    assert asked <= declared() | of_vllm()
    assert declared() - asked == NOT_SHOWN


def test_every_dashboard_is_installed() -> None:
    installed = [name for each in objects(WATCHED) if each["kind"] == "ConfigMap" for name in each["data"]]
    assert sorted(installed) == sorted(f"{name}.json" for name in DASHBOARDS)


def test_no_two_panels_overlap() -> None:
    for board in DASHBOARDS.values():
        cells: set[tuple[int, int]] = set()
        for place in (panel["gridPos"] for panel in board["panels"]):
            columns, lines = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
            mine = {(x, y) for x in columns for y in lines}
            assert not cells & mine and place["x"] + place["w"] <= 24
            cells |= mine


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_is_tested_both_silent_and_firing(rule: dict[str, Any]) -> None:
    tests = yaml.safe_load(ALERT_TESTS.read_text(encoding="utf-8"))["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    assert {bool(case.get("exp_alerts")) for case in cases if case["alertname"] == rule["alert"]} == {True, False}


def promtool(*arguments: str) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool in PATH (Debian package: prometheus)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_alerts_fire_when_they_should_and_with_these_words(tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(ALERT_TESTS, tmp_path)
    promtool("test", "rules", str(tmp_path / ALERT_TESTS.name))


def test_every_query_of_the_dashboards_is_promql(tmp_path: Path) -> None:
    queries = [query for board in DASHBOARDS.values() for query in expressions(board)]
    assert len(queries) > 40
    variables = {"$__rate_interval": "5m", "$namespace": "n", "$service": "s"}
    for name, value in variables.items():
        queries = [query.replace(name, value) for query in queries]
    records = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": records}]}))
    promtool("check", "rules", str(tmp_path / "rules.yaml"))
