"""The report on an external set as one HTML page, in the style of the main report: no script, nothing loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from promethios.evaluation.charts import reliability_key, reliability_svg
from promethios.evaluation.confidence_calibration import BY_CHANCE
from promethios.evaluation.console import number
from promethios.evaluation.html_parts import (
    columns,
    definitions,
    estimate_cell,
    estimate_line,
    flat,
    page,
    percent,
    section,
    table,
)

SHOWN_FAMILIES: Final = 20
_SYSTEM_COLUMNS: Final = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced",
    "auroc": "AUROC",
    "expected_cost": "Cost",
    "missed_escalation": "Missed",
    "over_escalation": "Needless",
}
_ABSTENTION_COLUMNS: Final = {"precision": "Precision", "recall": "Recall", "f1": "F1", "auroc": "AUROC"}
_CALIBRATION: Final = {
    "smooth_ece": "smECE",
    "ece_15": "ECE, 15 equal-mass bins",
    "brier": "Brier score",
    "log_loss": "Log loss (nats)",
}

Report = Mapping[str, Any]


def render_page(report: Report) -> str:
    """Return the page for a report of `evaluate_external_set`."""
    return page(_title(report), [_header(report), *_content(report), _provenance(report)])


def _title(report: Report) -> str:
    files = ", ".join(path.rsplit("/", 1)[-1] for path in report["provenance"]["data"])
    return f"{report['provenance']['model']} on {files}"


def _header(report: Report) -> str:
    verdict = ""
    if report["passed"] is not None:
        kind = "holds" if report["passed"] else "fails"
        asked = f"at least {report['min_accuracy']:g} asked for"
        verdict = f'<p class="verdict {kind}">Accuracy {number(report["accuracy"])}, {asked}</p>'
    return (
        f"<header><h1>{escape(_title(report))}</h1>"
        f'<p class="soft">{report["num_examples"]:,} examples that somebody else brought. Nothing was fitted on them: '
        "the model decides with the calibration and the certificate that it ships with. Ranges are 95 % confidence "
        f"intervals.</p>{verdict}</header>"
    )


def _content(report: Report) -> Iterable[str]:
    if report["abstention"] is not None:
        yield from _abstention(report["abstention"])
        yield _heads(report["heads"])
        return
    yield _systems(report)
    yield _served(report["served"])
    yield _calibration(report["calibration"], report["reliability"])
    yield _domains(report["domains"])
    optional: Mapping[str, Callable[[Any], str]] = {
        "families": _families,
        "decisions": _decisions,
        "pairs": _pairs,
        "heads": _heads,
        "text": _text,
    }
    yield from (render(report[key]) for key, render in optional.items() if report[key])


def _systems(report: Report) -> str:
    rows = []
    for system in report["systems"]:
        gain = system["model_gains"].get("accuracy")
        cells = [estimate_cell(system["measures"][name]) for name in _SYSTEM_COLUMNS]
        rows.append([escape(system["title"]), *cells, estimate_cell(gain) if gain else ""])
    heads = ["System", *_SYSTEM_COLUMNS.values(), "Model's gain"]
    accuracy = report["systems"][0]["measures"]["accuracy_wilson"]
    return section(
        "Escalate or not, next to simpler systems",
        f"An expert was right for {percent(report['expert_escalation_rate'])} of the examples. Every system decides at "
        "the same thresholds, those of cost. Cost is per request: 1 for an escalation in vain, the domain's miss cost "
        f"for a missed one. The model's accuracy with its Wilson interval: {estimate_line(accuracy)}.",
        table("All systems", heads, rows, numeric=range(1, len(heads)), marked=0),
    )


def _served(served: Report) -> str:
    rows = [
        ["Answered without a person", estimate_line(served["auto_answered_share"])],
        ["Answered although an expert was right, of all", number(served["missed_share"])],
        ["The same, upper 95 % bound", number(served["missed_upper_bound"])],
        ["Accuracy", estimate_line(served["served_accuracy"])],
    ]
    return section(
        "As it is served",
        "Serving answers below the certified threshold of the domain only. The certificate promises its limit for "
        "requests like those it was made from; this set may be different, and shows what came of it here.",
        table("Under the certificate", ["Share of examples", "Value"], rows, numeric={1}, kind="narrow"),
    )


def _calibration(measures: Report, reliability: Report) -> str:
    rows = []
    for name, title in _CALIBRATION.items():
        rows.append([title, estimate_line(measures[name])])
        if by_chance := BY_CHANCE.get(name):
            rows.append(["- what chance alone gives here", number(measures[by_chance])])
    return section(
        "Confidence calibration",
        "Of the requests with a predicted probability of 30 %, an expert should have been right for 30 in 100. The "
        "bars below the diagram count the examples.",
        columns(
            reliability_svg(reliability) + reliability_key(),
            table("Calibration measures, 0 is best", ["Measure", "Value"], rows, numeric={1}),
        ),
    )


def _domains(domains: Sequence[Report]) -> str:
    rows = [
        [*_group_cells(row, "domain"), number(row["missed_upper_bound"]), number(row["risk_limit"])] for row in domains
    ]
    heads = [*_GROUP_HEADS, "Upper bound", "Certified limit"]
    return section(
        "By domain",
        "Domains as the examples state them. Missed: answered as served although an expert was right, of all.",
        _group_table("Domains", ["Domain", *heads], rows),
    )


def _families(families: Sequence[Report]) -> str:
    rows = [_group_cells(row, "family") for row in families[:SHOWN_FAMILIES]]
    shown = f"The {len(rows)} least accurate of {len(families)}; the JSON holds all."
    return section("By family", shown, _group_table("Families", ["Family", *_GROUP_HEADS], rows))


_GROUP_HEADS: Final = ("Examples", "Expert right", "Accuracy", "Answered", "Missed")


def _group_cells(row: Report, key: str) -> list[str]:
    return [
        escape(row[key]),
        f"{row['num_examples']}",
        percent(row["expert_escalation_rate"]),
        estimate_cell(row["accuracy"]),
        percent(row["auto_answered_share"]["value"]),
        percent(row["missed_share"]),
    ]


def _group_table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return table(caption, heads, rows, numeric=range(1, len(heads)))


def _decisions(decisions: Report) -> str:
    names = list(decisions["confusion"])
    rows = [[name, *(str(decisions["confusion"][name][decided]) for decided in names)] for name in names]
    return section(
        "One decision of four",
        f"Right for {estimate_line(decisions['accuracy'])} of the {decisions['num_examples']:,} examples that name the "
        "right decision. A row is what was right, a column what the model decided.",
        table("Right and decided", ["Right", *names], rows, numeric=range(1, len(names) + 1)),
    )


def _pairs(pairs: Mapping[str, Report]) -> str:
    rows = [
        [
            escape(kind.replace("_", " ")),
            str(found["num_pairs"]),
            estimate_line(found["pair_accuracy"]),
            estimate_line(found["same_decision"]),
        ]
        for kind, found in pairs.items()
    ]
    heads = ["Kind", "Pairs", "Both right", "Same decision"]
    return section(
        "Pairs",
        "Two requests that differ in one thing.",
        table("By kind", heads, rows, numeric={1, 2, 3}, kind="narrow"),
    )


def _heads(heads: Mapping[str, Report]) -> str:
    rows = [
        [
            escape(name),
            str(found["num_examples"]),
            estimate_line(found["auroc"]),
            estimate_line(found["mean_absolute_error"]),
        ]
        for name, found in heads.items()
    ]
    return section(
        "Scores beside the decision",
        "Against the targets that the set gives.",
        table("Scores", ["Score", "Examples", "AUROC", "Mean absolute error"], rows, numeric={1, 2, 3}, kind="narrow"),
    )


def _text(text: Report) -> str:
    rows = [[name.replace("_", " "), estimate_line(share)] for name, share in text["measures"].items()]
    leaking = "".join(
        f"<li><code>{escape(item['id'])}</code> {escape(', '.join(item['leaks']))}"
        f'<blockquote class="response">{escape(item["response"])}</blockquote></li>'
        for item in text["leaking"]
    )
    return section(
        "Generated responses",
        f"{text['num_responses']} responses, each given under the served decision.",
        table("Responses", ["Share of responses", "Value"], rows, numeric={1}, kind="narrow"),
        f'<h3>Responses that expose a raw metric</h3><ul class="samples">{leaking}</ul>' if leaking else "",
    )


def _abstention(found: Report) -> Iterable[str]:
    groups = {"all": found["all"], **found["scenarios"]}
    mean = f"The mean F1 over {len(found['datasets'])} datasets is {number(found['mean_f1'])}."
    yield section(
        "Abstention",
        "Abstaining is to ask back or to hand over; an answer with a caveat is an answer. The last column is what "
        f"abstaining always would get. {mean}",
        _abstention_table("Scenario", groups),
    )
    yield section("By dataset", "The parts of the benchmark.", _abstention_table("Dataset", found["datasets"]))
    if found["bias"]:
        share = estimate_line(found["bias"]["strongest_is_right"])
        yield section("Bias scores", f"The strongest of the six is of a category of the question in {share}.")


def _abstention_table(name: str, groups: Mapping[str, Report]) -> str:
    heads = [name, "Items", "Should abstain", "Abstains", *_ABSTENTION_COLUMNS.values(), "F1 of always"]
    rows = [
        [
            escape(title.replace("_", " ")),
            str(group["num_items"]),
            percent(group["should_abstain_share"]),
            percent(group["abstained_share"]),
            *(estimate_cell(group[measure]) for measure in _ABSTENTION_COLUMNS),
            number(group["f1_of_always_abstaining"]),
        ]
        for title, group in groups.items()
    ]
    return table(f"By {name.lower()}", heads, rows, numeric=range(1, len(heads)))


def _provenance(report: Report) -> str:
    remarks = "".join(f"<p>{escape(note)}</p>" for note in report["notes"])
    return section("Provenance", "What was evaluated, with what.", definitions(flat(report["provenance"])) + remarks)
