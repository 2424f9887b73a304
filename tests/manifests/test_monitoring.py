"""Dashboard and alerts ask for metrics that the training really has, and say what they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from promethios.training.metrics import TrainingMetrics
from tests.manifests.rendered import MANIFESTS

RULES = yaml.safe_load((MANIFESTS / "components" / "alerts" / "alerts.yaml").read_text())["spec"]
ALERT_TESTS = Path(__file__).with_name("alerts_test.yaml")
DASHBOARD = json.loads((MANIFESTS / "components" / "dashboard" / "training.json").read_text())
METRIC = re.compile(r"\bpromethios_training_\w+\b")


def rules() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def dashboard_expressions() -> list[str]:
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    annotations = [each["expr"] for each in DASHBOARD["annotations"]["list"]]
    variables = [each["query"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    return [*panels, *annotations, *(each["query"] for each in variables)]


@pytest.fixture(scope="module")
def declared() -> set[str]:
    """The series of every metric, as a scrape of a training names them."""
    from prometheus_client.metrics import MetricWrapperBase

    metrics = [each for each in vars(TrainingMetrics()).values() if isinstance(each, MetricWrapperBase)]
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
    described = [metric.describe()[0] for metric in metrics]
    assert described
    return {each.name + suffix for each in described for suffix in suffixes[each.type]}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_metrics_that_exist(rule: dict[str, Any], declared: set[str]) -> None:
    assert METRIC.findall(rule["expr"])
    assert set(METRIC.findall(rule["expr"])) <= declared


def test_the_dashboard_asks_for_metrics_that_exist_and_shows_nearly_all(declared: set[str]) -> None:
    shown = {name for each in dashboard_expressions() for name in METRIC.findall(each)}
    assert shown <= declared
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in declared}
    not_shown = families - {re.sub("_(bucket|sum|count)$", "", name) for name in shown}
    assert not_shown == {
        "promethios_training_epoch",
        "promethios_training_checkpoint_interval_steps",
        "promethios_training_last_step_timestamp_seconds",
    }


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_is_tested_both_silent_and_firing(rule: dict[str, Any]) -> None:
    cases = [case for test in yaml.safe_load(ALERT_TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    fires = {bool(case.get("exp_alerts")) for case in cases if case["alertname"] == rule["alert"]}
    assert fires == {True, False}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool in PATH (Debian package: prometheus)")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def test_the_alerts_fire_when_they_should_and_with_these_words(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(RULES))
    shutil.copy(ALERT_TESTS, tmp_path)
    done = promtool("test", "rules", str(tmp_path / ALERT_TESTS.name))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_query_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    queries = [each for each in dashboard_expressions() if not each.startswith("label_values(")]
    assert len(queries) > 20
    records = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}))
    done = promtool("check", "rules", str(tmp_path / "rules.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_two_panels_overlap() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & mine, panel["title"]
        cells |= mine
