"""The report as one HTML file: no script, nothing loaded from anywhere, readable in light, dark and print.

This file holds the frame, the verdict and what is about decisions and their probabilities; what may be answered without
a person is in `answers_html`, what the decision depends on in `robustness_html`, what the model writes in `text_html`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import PurePath
from typing import Any, Final

from promethios.evaluation.answers_html import answers, domains
from promethios.evaluation.charts import reliability_key, reliability_svg
from promethios.evaluation.confidence_calibration import BY_CHANCE
from promethios.evaluation.console import TITLES, number
from promethios.evaluation.html_parts import (
    columns,
    contents,
    definitions,
    estimate_cell,
    estimate_line,
    flat,
    page,
    percent,
    percent_range,
    points,
    section,
    table,
    tag,
)
from promethios.evaluation.interval_charts import Row, interval_bar, intervals_svg
from promethios.evaluation.report_sets import SET_TITLES, best_baseline, of_kind, test_sets
from promethios.evaluation.robustness_html import conflicts, held_out, robustness
from promethios.evaluation.text_html import responses, self_questioning

_BEATS: Final = "A score means something only next to what is simpler."
GATE_REASONS: Final = {
    "beats_never": _BEATS,
    "beats_trust_rule": _BEATS,
    "beats_minimum_rule": _BEATS,
    "beats_tags": _BEATS,
    "beats_boosted_tags": _BEATS,
    "beats_best": "Whichever baseline without a language model is best here: a model that loses to it is not worth "
    "its cost.",
    "hitl_accuracy": "The least that is useful: four of five decisions as the expert's.",
    "calibration": "Thresholds on a probability are only as good as the probability.",
    "domain_compliance": "Each domain asks for its own trust in an answer; the evidence has to show it.",
    "certificate": "A promise about risk that new requests of the same world break is no promise.",
    "monotonicity": "A deployment that proves more competent must not lose trust for it.",
    "stale_invariance": "An outdated reading is nothing that a decision may hang on.",
    "spoofing": "Telemetry comes as reserved tokens, and nothing that a user writes is one.",
    "no_raw_metrics": "Users are told what to do, never internal scores.",
    "readable": "A decision that nobody can read helps nobody.",
    "fits_decision": "What is said has to be what was decided.",
    "release_accuracy": "A release decides as the expert does almost nine times out of ten.",
    "held_out_auroc": "What was learnt has to carry over to domains that training never showed.",
    "in_domain_smooth_ece": "Thresholds on a probability are only as good as the probability.",
    "held_out_smooth_ece": "Probabilities have to mean something where training never was.",
    "auto_answered": "A promise that leaves most of the work to people is of little use.",
    "conflict_pairs": "Where one thing decides, it has to be read.",
    "conflict_pairs_whole": "Both members right: no guess on the rest of the request explains that.",
    "header_shuffled": "More than the text tells, with false telemetry, could only come from a leak.",
    "text_removed": "More than the telemetry tells, without a text, could only come from a leak.",
    "enough_responses": "That something never happens takes many cases to show.",
}
"""Why each gate is there, in one sentence for the page; in full in `gates`."""
_COUNTS: Final = ("certificate", "enough_responses")
"""Gates whose measure is a number of cases."""

_DEFINITIONS: Final = {
    "hitl_accuracy": "decisions to escalate or not that equal the expert's",
    "confidence_calibration": "1 minus the expected calibration error over 15 bins of equal mass",
    "domain_compliance": "domains whose answers are right often enough, shown at 95 % confidence",
    "conflict_resolution": "accuracy where telemetry channels, or telemetry and text, contradict each other",
    "overall": "mean of the four",
}
_MEASURES: Final = {
    "accuracy": "Accuracy",
    "auroc": "AUROC",
    "expected_cost": "Cost",
    "missed_escalation": "Missed",
    "over_escalation": "Needless",
    "brier": "Brier",
}
_CALIBRATION: Final = {
    "ece_15": "ECE, 15 equal-mass bins",
    "smooth_ece": "smECE",
    "brier": "Brier score",
    "brier_reliability": "- reliability in it",
    "brier_resolution": "- resolution taken off it (more is better)",
    "brier_uncertainty": "- uncertainty of the outcomes",
    "log_loss": "Log loss (nats)",
}
_CEILING_SETS: Final = {
    "test": "test",
    "test_held_out_domains": "held_out_domains",
    "test_held_out_values": "held_out_values",
    "test_held_out_wording": "held_out_wording",
}


def render_html(report: Mapping[str, Any]) -> str:
    """Return the page for a report as `report.build_report` makes it."""
    sections = {
        "Gates": _gates(report["gates"]),
        "Scores": _scores(report["scores"]),
        "Next to simpler systems": _comparison(report["test"]),
        "Answers without a person": answers(report),
        "By domain": domains(report),
        "Calibration": _calibration(report),
        "Robustness": robustness(report),
        "What training never showed": held_out(report),
        "Conflicting signals": conflicts(report["test"]),
        "Generated responses": responses(report["text"]),
        **({"Self-questioning": self_questioning(found)} if (found := report["self_questioning"]) else {}),
        "Scores beside the decision": _heads(report["test"]["heads"]),
        "What the dataset allows": _ceilings(report["ceilings"]),
        "Provenance": _provenance(report["provenance"]),
    }
    body = (section(title, *parts) for title, parts in sections.items())
    return page(f"Evaluation of {_model_name(report)}", [_header(report), contents(sections), *body])


def _model_name(report: Mapping[str, Any]) -> str:
    return PurePath(report["provenance"]["model_path"]).name


def _header(report: Mapping[str, Any]) -> str:
    gates = report["gates"]
    failing = [gate["key"] for gate in gates if not gate["holds"]]
    verdict = (
        f"All {len(gates)} gates hold" if report["passed"] else f"{len(failing)} of {len(gates)} gates do not hold"
    )
    kind = "holds" if report["passed"] else "fails"
    notes = "".join(f"<li>{escape(note)}</li>" for note in report["notes"])
    test = report["test"]
    return (
        f'<header><p class="eyebrow">Promethios evaluation report</p><h1>{escape(_model_name(report))}</h1>'
        f'<div class="verdict {kind}"><p>{verdict}</p><p class="why">{_verdict_in_words(failing)}</p></div>'
        f"<p>{_summary(report)}</p>"
        f'<p class="soft">{test["num_examples"]:,} test examples of {test["num_families"]} scenario families, none of '
        "which was trained on unless a note says so. Ranges are 95 % confidence intervals from resampling whole "
        "families.</p>" + (f'<ul class="notes">{notes}</ul>' if notes else "") + "</header>"
    )


def _verdict_in_words(failing: Sequence[str]) -> str:
    if not failing:
        return "By the requirements below, this model is worth serving. They say nothing of requests unlike these."
    names = ", ".join(f"<code>{key}</code>" for key in failing)
    return f"By the requirements below, this model should not be served yet: {names}."


def _summary(report: Mapping[str, Any]) -> str:
    test = report["test"]
    accuracy = test["systems"][0]["measures"]["accuracy"]
    best = best_baseline(test)
    gain = best["model_gains"]["accuracy"]
    ceiling = of_kind(test, "ceiling")[0]["measures"]["accuracy"]["value"]
    served = report["certificate"]["realised"]["test"]
    return (
        f"The model decides as the expert did in <strong>{percent(accuracy['value'])}</strong> of the requests "
        f"({percent_range(accuracy)}). That is {points(gain['value'])} points ({points(gain['low'])} to "
        f"{points(gain['high'])}) against the best simpler system, {escape(best['title'])}; knowing all that can be "
        f"known would give {percent(ceiling)}. Served under its certificate it answers "
        f"<strong>{percent(served['auto_answered_share']['value'])}</strong> of them without a person, and "
        f"{percent(served['missed_share']['value'])} of all requests are answered although the expert took them."
    )


def _gates(gates: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    rows = (
        [
            f"<code>{gate['key']}</code>",
            tag("holds", "holds") if gate["holds"] else tag("fails", "does not hold"),
            escape(gate["requirement"]),
            _measured(gate),
            GATE_REASONS[gate["key"]],
        ]
        for gate in sorted(gates, key=lambda gate: bool(gate["holds"]))
    )
    heads = ["Gate", "Outcome", "Requirement", "Measured", "Why it is asked for"]
    return (
        "What has to hold before this model is worth serving, what does not hold first. Too few examples fail a gate: "
        "none is passed by luck.",
        table("Requirements and what was measured", heads, rows, numeric={3}, kind="stack"),
    )


def _measured(gate: Mapping[str, Any]) -> str:
    value = gate["measured"]
    return f"{value:.0f}" if gate["key"] in _COUNTS and value is not None else number(value)


def _scores(scores: Mapping[str, Any]) -> tuple[str, ...]:
    cards = "".join(
        f'<li><div class="name">{TITLES[name]}</div><div class="value">{percent(score["value"])}</div>'
        f'{interval_bar(score)}<div class="range">{percent_range(score)}{_target(score)}</div>'
        f'<div class="range">{_DEFINITIONS[name]}</div></li>'
        for name, score in scores.items()
    )
    return (
        "The four measures of governance and their mean. The mark on a bar is what the seed of this project expects.",
        f'<ul class="cards">{cards}</ul>',
    )


def _target(score: Mapping[str, Any]) -> str:
    return "" if score["seed_target"] is None else f"; expected: over {100 * score['seed_target']:.0f}\u00a0%"


def _comparison(test: Mapping[str, Any]) -> tuple[str, ...]:
    systems = test["systems"]
    gains = [
        Row(system["title"], "gain" if (gain["low"] or 0.0) > 0.0 else "no-gain", gain)
        for system in systems
        if system["model_gains"]
        for gain in [system["model_gains"]["accuracy"]]
    ]
    charts = (
        _figure("Accuracy", intervals_svg("accuracy", "Accuracy", _rows(systems, "accuracy"), percent)),
        _figure(
            "Accuracy gained, in points",
            intervals_svg("gains", "Accuracy of the model minus accuracy of each system", gains, points),
        ),
        _figure("AUROC", intervals_svg("auroc", "AUROC", _rows(systems, "auroc"), number)),
        _figure(
            "Cost per request: less is better",
            intervals_svg("cost", "Cost per request", _rows(systems, "expected_cost"), number, higher_is_better=False),
        ),
    )
    return (
        "Escalate or not, on the same examples under the same operating rule. The expert escalated "
        f"{percent(test['expert_escalation_rate'])} of them. The upright marks in each row are the model and, dashed, "
        "the ceiling: the generator's own probabilities, which no system can be expected to beat. An arrow stands for "
        "a value beyond the scale. A gain is the model's lead, with both on the same resampled examples; its dot is "
        "filled where the whole interval lies above 0.",
        columns(*charts[:2]),
        columns(*charts[2:]),
        _systems_table(systems),
    )


def _figure(caption: str, chart: str) -> str:
    return f"<figure><figcaption>{caption}</figcaption>{chart}</figure>"


def _rows(systems: Sequence[Mapping[str, Any]], measure: str) -> list[Row]:
    return [Row(system["title"], system["kind"], system["measures"][measure]) for system in systems]


def _systems_table(systems: Sequence[Mapping[str, Any]]) -> str:
    heads = ["System", *_MEASURES.values(), "Cost saved"]
    rows = []
    for system in systems:
        saved = system["model_gains"].get("cost_saved")
        cells = [estimate_cell(system["measures"][name]) for name in _MEASURES]
        rows.append([escape(system["title"]), *cells, estimate_cell(saved) if saved else ""])
    caption = (
        "All systems. Cost is per request: 1 for an escalation in vain, the domain's miss cost for a missed one. "
        "Missed and needless are shares of what the expert did and did not escalate. Cost saved is the model's lead."
    )
    return table(caption, heads, rows, numeric=range(1, len(heads)), marked=0)


def _calibration(report: Mapping[str, Any]) -> tuple[str, ...]:
    sets, parameters = test_sets(report), report["calibration"]
    diagrams = (
        _figure(SET_TITLES[name], reliability_svg(sets[name]["reliability"], f"reliability-{name.replace('_', '-')}"))
        for name in ("test", "held_out_domains")
    )
    measures = {name: found["calibration"] for name, found in sets.items()}
    rows = []
    for key, title in _CALIBRATION.items():
        rows.append([title, *(estimate_cell(found[key]) for found in measures.values())])
        if by_chance := BY_CHANCE.get(key):
            rows.append(["- what chance alone gives", *(number(found[by_chance]) for found in measures.values())])
    rows.append(["smECE of the worst domain", *map(_worst_domain, measures.values())])
    intercepts = ", ".join(f"{escape(name)} {value:+.2f}" for name, value in parameters["domain_intercepts"].items())
    heads = ["Measure", *(SET_TITLES[name] for name in sets)]
    return (
        "Of the requests with a predicted probability of 30 %, the expert should have escalated 30 in 100. The bars "
        "below a diagram count the examples.",
        columns(*diagrams),
        reliability_key(),
        table("Calibration measures, 0 is best", heads, rows, numeric=range(1, len(heads))),
        f'<p class="soft">Fitted on {parameters["num_examples"]:,} examples of the calibration split: slope '
        f"{parameters['slope']:.3f}, intercept {parameters['intercept']:+.3f}, domain intercepts {intercepts}.</p>",
    )


def _worst_domain(measures: Mapping[str, Any]) -> str:
    worst = measures["worst_domain"]
    return f'{number(measures["smooth_ece_by_domain"][worst])}<br><span class="range">{escape(worst)}</span>'


def _heads(heads: Mapping[str, Any]) -> tuple[str, ...]:
    rows = [
        [escape(name), estimate_line(measures["auroc"]), estimate_line(measures["mean_absolute_error"])]
        for name, measures in heads.items()
    ]
    return (
        "Confidence, uncertainty, bias and the need of a tool, against the dataset's targets. Reported, not gated.",
        table("Scores", ["Score", "AUROC", "Mean absolute error"], rows, numeric={1, 2}, kind="narrow"),
    )


def _ceilings(ceilings: Mapping[str, Any]) -> tuple[str, ...]:
    found = {
        name: ceilings[key]["ceilings"] for key, name in _CEILING_SETS.items() if "ceilings" in ceilings.get(key, {})
    }
    tables = (_ceiling_table(SET_TITLES[name], of_set) for name, of_set in found.items())
    return (
        "Stated by the generator, which knows its own probabilities: no system can be expected to do better than the "
        "ceiling for what it reads. Measured on the whole split, without the extra care under degraded telemetry.",
        *tables,
    )


def _ceiling_table(title: str, ceilings: Mapping[str, Mapping[str, float]]) -> str:
    names = list(next(iter(ceilings.values())))
    rows = [
        [escape(name.replace("_", " ")), *(number(values[measure]) for measure in names)]
        for name, values in ceilings.items()
    ]
    heads = ["Reads", *(escape(measure.replace("_", " ")) for measure in names)]
    return table(title, heads, rows, numeric=range(1, len(heads)))


def _provenance(provenance: Mapping[str, Any]) -> tuple[str, ...]:
    return "What was evaluated, with what.", definitions(flat(provenance))
