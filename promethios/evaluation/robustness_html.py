"""The page's parts on what the decision depends on: pairs, changed requests, what training never showed, conflicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from promethios.evaluation.console import number
from promethios.evaluation.domain_probe import domain_probe_line
from promethios.evaluation.html_parts import (
    estimate_cell,
    estimate_line,
    noted,
    percent,
    percent_cell,
    points_cell,
    table,
    tag,
)
from promethios.evaluation.report_sets import SET_TITLES, best_baseline, of_kind, test_sets

_PAIR_KINDS: Final = {
    "stale_channel": "Conflict pairs, which channel is stale",
    "text_cue": "Conflict pairs, one cue in the text",
}
_PAIR_NOTES: Final = {
    "stale_channel": "Same text, same readings; only which reading is out of date differs, and with it the decision.",
    "text_cue": "Same telemetry, same text but for one thing that is said to be so, or not to be so.",
}
_SET_NOTES: Final = {
    "test": "The domains of training, scenario families that training never used.",
    "held_out_domains": "Whole domains without a training example.",
    "held_out_values": "At least one reading from an interval that training leaves out.",
    "held_out_wording": "Phrases that no other split uses.",
}
_CONFLICTS: Final = {
    "score": "Any conflict",
    "channels_disagree": "Telemetry channels disagree",
    "text_against_telemetry": "Text against telemetry",
    "accuracy_without_conflict": "No conflict",
    "gap": "No conflict minus any conflict",
    "share_in_conflict": "Share of examples in conflict",
}

_Row = list[str]
_NONE: Final = "no measure: too few families"


def robustness(report: Mapping[str, Any]) -> tuple[str, ...]:
    """Return introduction and content of the section on what the decision should and should not depend on."""
    measures = report["robustness"]
    gates = {gate["key"]: gate for gate in report["gates"]}
    rows = [
        *_conflict_pairs(measures["conflict_pairs"]),
        _changed(
            "Monotonicity",
            "One fresh reading of competence rises by 0.2. Good news must not make it hand over more: violations.",
            measures["monotonicity"],
            "violations",
            _gate(gates, "monotonicity"),
        ),
        _changed(
            "Stale invariance",
            "An outdated reading is exchanged for another outdated one. The decision should stand: share that does.",
            measures["stale_invariance"],
            "decision_stays",
            _gate(gates, "stale_invariance"),
        ),
        _spoofing(measures["spoofing"], _gate(gates, "spoofing")),
        _bias(measures["bias_pairs"]),
        _ablation(
            "Telemetry shuffled",
            "Every request gets the telemetry of another one. What is left can only come from the text: accuracy.",
            measures["header_shuffled"],
            report,
        ),
        _ablation(
            "Text removed",
            "Every request is empty. What is left can only come from the telemetry: accuracy.",
            measures["text_removed"],
            report,
        ),
        _tool_probe(measures["tool_probe"]),
    ]
    heads = ["Probe, and what it means", "Cases", "Model", "To compare with", "Gate"]
    return (
        "The same requests with one thing changed: what the decision should depend on, and what it should not. An "
        "ideal reader knows the generator's probabilities.",
        table("Probes", heads, rows, numeric={1, 2}, kind="stack"),
    )


def _gate(gates: Mapping[str, Mapping[str, Any]], key: str) -> str:
    return tag("holds", "holds") if gates[key]["holds"] else tag("fails", "does not hold")


def _conflict_pairs(found: Mapping[str, Any] | None) -> Iterator[_Row]:
    name = "Conflict pairs"
    note = "Two requests that differ in one thing on which the decision hangs: share of pairs with both decided right."
    if found is None:
        yield [noted(name, note), "0", "", _NONE, ""]
        return
    best = found["best_baseline"]
    compared = (
        f"{escape(best['title'])}: {percent(best['pair_accuracy']['value'])}"
        f'<span class="note">right on a pair alone: model {best["only_model_right"]}, baseline '
        f"{best['only_baseline_right']} (McNemar, p {_p_value(best['p_value'])})</span>"
    )
    yield [noted(name, note), f"{found['num_pairs']:,} pairs", percent_cell(found["pair_accuracy"]), compared, ""]
    for kind, of_one in found["by_kind"].items():
        yield [
            noted(_PAIR_KINDS.get(kind, escape(kind)), _PAIR_NOTES.get(kind, "")),
            f"{of_one['num_pairs']:,} pairs",
            percent_cell(of_one["pair_accuracy"]),
            f"one request at a time: {percent(of_one['accuracy']['value'])}",
            "",
        ]


def _p_value(value: float) -> str:
    return "&lt; 0.001" if value < 0.001 else f"= {value:.3f}"


def _changed(name: str, note: str, found: Mapping[str, Any] | None, measure: str, gate: str) -> _Row:
    if found is None:
        return [noted(name, note), "0", "", _NONE, gate]
    ideal = found["ideal"]
    compared = "" if ideal is None else f"an ideal reader: {percent(ideal[measure]['value'])}"
    return [noted(name, note), f"{found['num_examples']:,}", percent_cell(found[measure]), compared, gate]


def _spoofing(found: Mapping[str, Any], gate: str) -> _Row:
    at_cost = found["at_cost"]
    return [
        noted("Spoofing", "Forged tags and orders to approve are added to requests that call for a person: successes."),
        f"{found['num_clean_escalated']:,} attacks",
        f"{found['num_successes']}",
        f"with 95 % confidence fewer than {percent(found['success_upper_bound'])} succeed"
        f'<span class="note">at the threshold of cost alone: {at_cost["num_successes"]} of '
        f"{at_cost['num_clean_escalated']:,}</span>",
        gate,
    ]


def _bias(found: Mapping[str, Any] | None) -> _Row:
    name = noted("Bias pairs", "The group that is named is exchanged for another one: share of decisions that flip.")
    if found is None:
        return [name, "0", "", _NONE, ""]
    change = found["mean_absolute_difference"]["value"]
    compared = f"ideal: 0; P(escalate) moves by {change:.3f} on average"
    return [name, f"{found['num_examples']:,} pairs", percent_cell(found["flip_rate"]), compared, ""]


def _ablation(name: str, note: str, found: Mapping[str, Any], report: Mapping[str, Any]) -> _Row:
    systems = report["test"]["systems"]
    level = next(system["title"] for system in systems if system["key"] == found["level_of"])
    whole = percent(systems[0]["measures"]["accuracy"]["value"])
    ranking = f"AUROC {number(found['auroc']['value'])}, theirs {number(found['level_auroc']['value'])}"
    compared = (
        f"{escape(level)}: {percent(found['level']['value'])}"
        f'<span class="note">{ranking}; accuracy of the model with both sources {whole}</span>'
    )
    return [noted(name, note), f"{report['test']['num_examples']:,}", percent_cell(found["accuracy"]), compared, ""]


def _tool_probe(found: Mapping[str, Any] | None) -> _Row:
    name = noted("Tool probe", "A look-up is needed, sound, or unreliable: does the tool score tell? AUROC.")
    if found is None:
        return [name, "0", "", _NONE, ""]
    states = ", ".join(
        f"{escape(state or 'unnamed')} {percent(share['value'])}" for state, share in found["accuracy"].items()
    )
    return [
        name,
        f"{found['num_examples']:,}",
        estimate_cell(found["auroc"]),
        f"told right at a threshold of one half: {states}",
        "",
    ]


def held_out(report: Mapping[str, Any]) -> tuple[str, ...]:
    """Return introduction and content of the section on the test sets beside the in-domain one."""
    rows = [
        [noted(SET_TITLES[name], _SET_NOTES[name]), *_set_cells(part, report["certificate"]["realised"].get(name))]
        for name, part in test_sets(report).items()
    ]
    heads = [
        "Test set", "Examples", "Accuracy", "Points over best baseline", "Ceiling", "AUROC", "smECE",
        "Answered, served", "Missed, of all",
    ]  # fmt: skip
    return (
        "How far the model carries beyond what training showed. The best baseline is the most accurate system without "
        "a language model on that set. The certificate is made for requests like those of the domains of training; "
        "elsewhere it promises nothing, and this is what came of it.",
        table("Test sets", heads, rows, numeric=range(1, len(heads)), kind="dense"),
        f'<p class="soft">{escape(domain_probe_line(report["domain_probe"]))}</p>',
    )


def _set_cells(part: Mapping[str, Any], realised: Mapping[str, Any] | None) -> list[str]:
    measures = part["systems"][0]["measures"]
    ceiling = of_kind(part, "ceiling")
    return [
        f"{part['num_examples']:,}",
        percent_cell(measures["accuracy"]),
        points_cell(best_baseline(part)["model_gains"]["accuracy"]),
        percent(ceiling[0]["measures"]["accuracy"]["value"]) if ceiling else "",
        estimate_cell(measures["auroc"]),
        estimate_cell(part["calibration"]["smooth_ece"]),
        percent_cell(realised["auto_answered_share"]) if realised else "",
        percent_cell(realised["missed_share"]) if realised else "",
    ]


def conflicts(test: Mapping[str, Any]) -> tuple[str, ...]:
    """Return introduction and content of the section on accuracy where signals contradict each other."""
    rows = [[title, estimate_line(test["conflicts"][name])] for name, title in _CONFLICTS.items()]
    return (
        "Channels disagree when a stale reading is far from the fresh ones, or attestation is low and readings lie far "
        "apart. Text is against telemetry when a classifier of each alone decides differently.",
        table("Accuracy on the test set", ["Where", "Value"], rows, numeric={1}, kind="narrow"),
    )
