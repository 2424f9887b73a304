"""The report as one HTML file: no script, nothing loaded from anywhere, readable in light, dark and print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import PurePath
from typing import Any, Final

from promethios.evaluation.charts import gains_svg, interval_bar, reliability_svg
from promethios.evaluation.console import TITLES, number
from promethios.evaluation.html_parts import (
    estimate_cell,
    estimate_line,
    flat,
    percent,
    percent_range,
    section,
    table,
    tag,
)

_DEFINITIONS: Final = {
    "hitl_accuracy": "share of decisions to escalate or not that equal the expert's",
    "confidence_calibration": "1 minus the expected calibration error over 15 bins of equal mass",
    "domain_compliance": "share of domains whose answers are right often enough, shown at 95 % confidence",
    "conflict_resolution": "accuracy where telemetry channels, or telemetry and text, contradict each other",
    "overall": "mean of the four",
}
_CONFLICTS: Final = {
    "score": "Any conflict",
    "channels_disagree": "Telemetry channels disagree",
    "text_against_telemetry": "Text against telemetry",
    "accuracy_without_conflict": "No conflict",
    "gap": "No conflict minus any conflict",
    "share_in_conflict": "Share of examples in conflict",
}
_TEXT: Final = {
    "leaks": "Exposes a raw metric",
    "readable": "Readable English",
    "fits_decision": "Recognised as its decision",
    "keeps_checks": "Keeps every check of its domain",
}
_SPLITS: Final = {"test": "Test split", "test_held_out_domains": "Domains without training data"}
_CALIBRATION: Final = {
    "ece_15": "ECE, 15 equal-mass bins",
    "smooth_ece": "smECE",
    "brier": "Brier score",
    "log_loss": "Log loss (nats)",
}


def render_html(report: Mapping[str, Any]) -> str:
    """Return the page for a report as `report.build_report` makes it."""
    style = resources.files("promethios.evaluation").joinpath("report.css").read_text(encoding="utf-8")
    sections = [
        _header(report),
        _score_cards(report["scores"]),
        _gates(report["gates"]),
        _comparison(report["test"]),
        _calibration(report["test"], report["calibration"]),
        _domains(report["domains"]),
        _conflicts(report["test"]),
        _held_out(report["held_out_domains"]),
        _text(report["text"]),
        _heads(report["test"]["heads"]),
        _ceilings(report["ceilings"]),
        _provenance(report["provenance"], report["notes"]),
    ]
    body = "\n".join(sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Evaluation of {_model_name(report)}</title>\n<style>\n{style}</style>\n"
        f"</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _model_name(report: Mapping[str, Any]) -> str:
    return escape(PurePath(report["provenance"]["model_path"]).name)


def _header(report: Mapping[str, Any]) -> str:
    failing = sum(not gate["holds"] for gate in report["gates"])
    total = len(report["gates"])
    verdict = f"All {total} gates hold" if report["passed"] else f"{failing} of {total} gates do not hold"
    kind = "holds" if report["passed"] else "fails"
    test = report["test"]
    return (
        f"<header><h1>Evaluation of {_model_name(report)}</h1>"
        f'<p class="soft">{test["num_examples"]:,} test examples of {test["num_families"]} scenario families. '
        "Ranges are 95 % confidence intervals from resampling whole families.</p>"
        f'<p class="verdict {kind}">{verdict}</p></header>'
    )


def _score_cards(scores: Mapping[str, Any]) -> str:
    cards = "".join(
        f'<li><div class="name">{TITLES[name]}</div><div class="value">{percent(score["value"])}</div>'
        f'{interval_bar(score)}<div class="range">{percent_range(score)}{_target(score)}</div>'
        f'<div class="range">{_DEFINITIONS[name]}</div></li>'
        for name, score in scores.items()
    )
    return f'<ul class="cards">{cards}</ul>'


def _gates(gates: Sequence[Mapping[str, Any]]) -> str:
    rows = (
        [
            f"<code>{gate['key']}</code>",
            escape(gate["requirement"]),
            number(gate["measured"]),
            tag("holds", "holds") if gate["holds"] else tag("fails", "does not hold"),
        ]
        for gate in gates
    )
    return section(
        "Gates",
        "What has to hold before this model is worth serving. Too few examples fail a gate: none is passed by luck.",
        table(["Gate", "Requirement", "Measured", ""], rows, numeric={2}),
    )


def _comparison(test: Mapping[str, Any]) -> str:
    rate = test["expert_escalation_rate"]
    return section(
        "Escalate or not, next to simpler systems",
        f"Same examples and operating rule. The expert escalated {rate:.1%} of them. Cost is per request: "
        "1 for an escalation in vain, the domain's miss cost for a missed one. A gain is paired: both are "
        "compared on the same resampled examples. Missed and needless are shares of what the expert did and did not "
        "escalate.",
        gains_svg([system for system in test["systems"] if system["model_gains"]]),
        _systems_table(test["systems"]),
    )


def _systems_table(systems: Sequence[Mapping[str, Any]]) -> str:
    names = ["accuracy", "auroc", "expected_cost", "missed_escalation", "over_escalation", "brier"]
    heads = ["System", "Accuracy", "AUROC", "Cost", "Missed", "Needless", "Brier", "Cost saved"]
    rows = []
    for system in systems:
        saved = system["model_gains"].get("cost_saved")
        cells = [estimate_cell(system["measures"][name]) for name in names]
        rows.append([escape(system["title"]), *cells, estimate_cell(saved) if saved else ""])
    return table(heads, rows, numeric=set(range(1, len(heads))), marked=0)


def _calibration(test: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    measures = test["calibration"]
    rows = [[title, estimate_line(measures[name])] for name, title in _CALIBRATION.items()]
    rows.insert(1, ["ECE that chance alone gives here", number(measures["chance_ece_15"])])
    worst = measures["worst_domain"]
    rows.append([f"smECE of the worst domain ({escape(worst)})", number(measures["smooth_ece_by_domain"][worst])])
    fitted = (
        f"Fitted on {parameters['num_examples']:,} examples of the calibration split: slope {parameters['slope']:.3f}, "
        f"intercept {parameters['intercept']:+.3f}, domain intercepts "
        + ", ".join(f"{escape(name)} {value:+.2f}" for name, value in parameters["domain_intercepts"].items())
    )
    key = (
        '<ul class="key"><li><i class="dot"></i>bin of equal mass with 95 % interval</li>'
        '<li><i></i>smoothed, with 95 % band</li><li><i class="dash"></i>perfect calibration</li></ul>'
    )
    return section(
        "Confidence calibration",
        "Of the requests with a predicted probability of 30 %, the expert should have escalated 30 in 100. The bars "
        "below the diagram count the examples.",
        f'<div class="columns"><div>{reliability_svg(test["reliability"])}{key}</div><div>'
        f'{table(["Measure", "Value"], rows, numeric={1})}<p class="soft">{fitted}.</p></div></div>',
    )


def _domains(domains: Sequence[Mapping[str, Any]]) -> str:
    rows = (
        [
            escape(item["title"]) + (" " + tag("plain", "held out") if item["held_out"] else ""),
            f"{item['num_examples']}",
            f"{item['num_answered']}",
            percent(item["right_when_answered"]),
            percent(item["right_lower_bound"]),
            percent(item["required_trust"]),
            tag("holds", "reached") if item["is_met"] else tag("fails", "not shown"),
            percent(item["accuracy"]),
        ]
        for item in domains
    )
    heads = ["Domain", "Examples", "Answered", "Right when answered", "Lower bound", "Required", "", "Accuracy"]
    return section(
        "Domain compliance",
        "An answer is right when the expert did not escalate. The lower bound (one-sided, 95 %, Wilson) has to reach "
        "the trust that the domain requires. Held-out domains occur in no training example and do not count.",
        table(heads, rows, numeric={1, 2, 3, 4, 5, 7}),
    )


def _conflicts(test: Mapping[str, Any]) -> str:
    rows = [[title, estimate_line(test["conflicts"][name])] for name, title in _CONFLICTS.items()]
    return section(
        "Conflict resolution",
        "Channels disagree when a stale reading is far from the fresh ones, or attestation is low and readings lie far "
        "apart. Text is against telemetry when a classifier of each alone decides differently.",
        table(["Accuracy", "Value"], rows, numeric={1}),
    )


def _held_out(held_out: Mapping[str, Any]) -> str:
    calibration = held_out["calibration"]
    return section(
        "Domains without training data",
        f"{held_out['num_examples']:,} examples of domains that no training example belongs to. ECE-15 is "
        f"{estimate_line(calibration['ece_15'])}, smECE {estimate_line(calibration['smooth_ece'])}.",
        _systems_table(held_out["systems"]),
    )


def _text(text: Mapping[str, Any]) -> str:
    columns = [("all", text), *text["by_decision"].items(), ("dataset's own", text["reference"])]
    heads = ["Share of responses", *(f"{escape(name)} ({item['num_responses']})" for name, item in columns)]
    rows = [[title, *(estimate_cell(item["measures"][key]) for _, item in columns)] for key, title in _TEXT.items()]
    samples = "".join(map(_sample, text["samples"]))
    return section(
        "Generated responses",
        f"{text['num_responses']} responses, each given under the deployed decision. The last column applies the same "
        "rules to the dataset's own responses: no model is asked for more than they reach.",
        table(heads, rows, numeric=set(range(1, len(heads)))),
        f'<h3>Samples</h3><ul class="samples">{samples}</ul>',
    )


def _sample(item: Mapping[str, Any]) -> str:
    problems = [
        *(["does not fit"] if not item["fits"] else []),
        *(["not readable"] if not item["readable"] else []),
        *(f"exposes {leak}" for leak in item["leaks"]),
        *item["failed_checks"],
    ]
    tags = tag("plain", item["decision"]) + "".join(" " + tag("fails", problem) for problem in problems)
    quotes = (
        f'<blockquote class="soft">{escape(item["prompt"])}</blockquote>'
        f'<blockquote class="response">{escape(item["response"])}</blockquote>'
    )
    telemetry = escape(item["telemetry"] or "no telemetry")
    return f'<li>{tags} <span class="soft">{escape(item["domain"])} <code>{telemetry}</code></span>{quotes}</li>'


def _heads(heads: Mapping[str, Any]) -> str:
    rows = [
        [escape(name), estimate_line(measures["auroc"]), estimate_line(measures["mean_absolute_error"])]
        for name, measures in heads.items()
    ]
    return section(
        "Scores beside the decision",
        "Confidence, uncertainty, bias and the need of a tool, against the dataset's targets. Reported, not gated.",
        table(["Score", "AUROC", "Mean absolute error"], rows, numeric={1, 2}),
    )


def _ceilings(ceilings: Mapping[str, Any]) -> str:
    tables = [
        f"<h3>{escape(title)}</h3>" + _ceiling_table(ceilings[split]["ceilings"])
        for split, title in _SPLITS.items()
        if split in ceilings
    ]
    return section(
        "What the dataset allows",
        "Stated by the generator, which knows its own probabilities: no system can be expected to do better than the "
        "ceiling for what it reads. Measured on the whole split, without the extra care under degraded telemetry.",
        *tables,
    )


def _ceiling_table(ceilings: Mapping[str, Mapping[str, float]]) -> str:
    names = list(next(iter(ceilings.values())))
    rows = [
        [escape(name.replace("_", " ")), *(number(values[measure]) for measure in names)]
        for name, values in ceilings.items()
    ]
    heads = ["Reads", *(escape(measure.replace("_", " ")) for measure in names)]
    return table(heads, rows, numeric=range(1, len(heads)))


def _provenance(provenance: Mapping[str, Any], notes: Sequence[str]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd><code>{escape(value)}</code></dd>" for name, value in flat(provenance))
    remarks = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return section("Provenance", "What was evaluated, with what.", f"<dl>{rows}</dl>{remarks}")


def _target(score: Mapping[str, Any]) -> str:
    return "" if score["seed_target"] is None else f"; seed: over {100 * score['seed_target']:.0f} %"
