"""The page's parts on what the model writes: responses for the user, and hidden questions to itself."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

from promethios.evaluation.console import number
from promethios.evaluation.html_parts import estimate_line, percent, percent_cell, table, tag

_MEASURES: Final = {
    "leaks": "Exposes a raw metric",
    "loops": "Goes round in circles",
    "readable": "Readable English",
    "fits_decision": "Recognised as its decision",
    "keeps_checks": "Keeps every check of its domain",
    "keeps_precedence": "Keeps the norm that prevails, where two conflict",
}


def responses(text: Mapping[str, Any]) -> tuple[str, ...]:
    """Return introduction and content of the section on generated responses."""
    groups = [("all", text), *text["by_decision"].items(), ("the dataset's own", text["reference"])]
    heads = ["Share of responses", *(f"{escape(name)}<br>({item['num_responses']:,})" for name, item in groups)]
    rows = [[title, *(percent_cell(item["measures"][key]) for _, item in groups)] for key, title in _MEASURES.items()]
    samples = "".join(map(_sample, text["samples"]))
    linguistic = text["linguistic_calibration"]
    return (
        f"{text['num_responses']:,} responses, each given under the deployed decision. The last column applies the "
        "same rules to the dataset's own responses: no model is asked for more than they reach. With 95 % confidence, "
        f"fewer than {percent(text['leak_upper_bound'])} of all responses expose a raw metric.",
        table("By decision", heads, rows, numeric=range(1, len(heads))),
        "<p>Are the words as sure as the numbers? How sure a response sounds follows the probability of no escalation "
        f"with a rank correlation of <strong>{number(linguistic['expressed_confidence'])}</strong>; the macro "
        f"F1 of the decisions recognised in the words is <strong>{number(linguistic['decision_f1'])}</strong>.</p>",
        f'<h3>Samples</h3><ul class="samples">{samples}</ul>',
    )


def _sample(item: Mapping[str, Any]) -> str:
    problems = [
        *(["does not fit"] if not item["fits"] else []),
        *(["not readable"] if not item["readable"] else []),
        *(["goes round in circles"] if item["loops"] else []),
        *(f"exposes {leak}" for leak in item["leaks"]),
        *item["failed_checks"],
    ]
    tags = tag("plain", item["decision"]) + "".join(" " + tag("fails", problem) for problem in problems)
    quotes = (
        f'<blockquote class="soft">{escape(item["prompt"])}</blockquote>'
        f'<blockquote class="response">{escape(item["response"])}</blockquote>'
    )
    where = f"{escape(item['domain'] or 'no domain')} <code>{escape(item['telemetry'] or 'no telemetry')}</code>"
    return f'<li>{tags} <span class="soft">{where}</span>{quotes}</li>'


def self_questioning(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Return introduction and content of the section on hidden rounds of self-questioning."""
    rows = [
        [name.replace("_", " "), *(estimate_line(found[side][name]) for side in ("without", "with", "gain"))]
        for name in found["gain"]
    ]
    rounds = ", ".join(
        f"{percent(share['value'])} take {name.removeprefix('rounds_')}"
        for name, share in found.items()
        if name.startswith("rounds_")
    )
    samples = "".join(
        f'<li><blockquote class="soft">{escape(item["prompt"])}</blockquote>'
        + "".join(f'<blockquote class="response">{escape(text)}</blockquote>' for text in item["questions"])
        + "</li>"
        for item in found["samples"]
    )
    return (
        f"Off unless it is asked for. Of {found['num_examples']:,} requests, {rounds} hidden rounds; they add "
        f"{found['extra_tokens']['value']:.1f} tokens a request.",
        table("On the test set, paired", ["Measure", "Without", "With", "Change"], rows, numeric={1, 2, 3}),
        f'<h3>What it asks itself</h3><ul class="samples">{samples}</ul>' if samples else "",
    )
