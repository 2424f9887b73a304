"""The report on an external set on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from promethios.evaluation.console import interval, number

Report = Mapping[str, Any]


def console_lines(report: Report) -> str:
    """Return the essentials of a report of `evaluate_external_set` as text."""
    found = report["abstention"]
    lines = _own(report) if found is None else _abstention(found)
    return "\n".join(line.rstrip() for line in (*lines, *(f"note: {note}" for note in report["notes"])))


def _own(report: Report) -> Iterable[str]:
    families = f" of {len(report['families'])} families" if report["families"] else ""
    examples = "1 example" if report["num_examples"] == 1 else f"{report['num_examples']} examples"
    yield f"{examples}{families}; 95 % intervals in brackets"
    yield ""
    yield f"{'escalate or not':<36}{'accuracy':<24}{'AUROC':<24}cost"
    for system in report["systems"]:
        measures = system["measures"]
        accuracy, auroc = interval(measures["accuracy"]), interval(measures["auroc"])
        yield f"{system['title']:<36}{accuracy:<24}{auroc:<24}{number(measures['expected_cost']['value'])}"
    served = report["served"]
    yield ""
    yield f"{'accuracy, Wilson interval':<36}{interval(report['systems'][0]['measures']['accuracy_wilson'])}"
    yield f"{'smECE':<36}{interval(report['calibration']['smooth_ece'])}"
    yield f"{'answered under the certificate':<36}{interval(served['auto_answered_share'])}"
    missed = f"{number(served['missed_share'])} (at most {number(served['missed_upper_bound'])})"
    yield f"{'answered, expert was right':<36}{missed}"
    for kind, pairs in report["pairs"].items():
        yield f"{'pairs: ' + kind:<36}{interval(pairs['pair_accuracy'])} both right"
    if report["text"]:
        yield f"{'responses with a raw metric':<36}{interval(report['text']['measures']['leaks'])}"


def _abstention(found: Report) -> Iterable[str]:
    yield f"{'abstention':<28}{'items':>7}  {'precision':<22}{'recall':<22}{'F1':<22}F1 of always"
    for title, group in {"all": found["all"], **found["scenarios"], **found["datasets"]}.items():
        cells = "".join(f"{interval(group[name]):<22}" for name in ("precision", "recall", "f1"))
        yield f"{title:<28}{group['num_items']:>7}  {cells}{number(group['f1_of_always_abstaining'])}"
    yield ""
    yield f"mean F1 over {len(found['datasets'])} datasets: {number(found['mean_f1'])}"
    if found["bias"]:
        yield f"strongest bias score is of a category of the question: {interval(found['bias']['strongest_is_right'])}"
