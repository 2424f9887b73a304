"""The page's parts on what may be answered without a person: risk against coverage, the certificate, each domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from promethios.evaluation.charts import risk_coverage_key, risk_coverage_svg
from promethios.evaluation.html_parts import columns, estimate_cell, percent, percent_cell, points, table, tag
from promethios.evaluation.report_sets import SET_TITLES


def answers(report: Mapping[str, Any]) -> tuple[str, ...]:
    """Return introduction and content of the section on answers without a person."""
    certificate = report["certificate"]
    curves = report["test"]["risk_coverage"]
    chart = risk_coverage_svg(
        curves,
        served=_place(certificate["realised"]["test"]),
        certified={system["key"]: _place(system["pooled"]) for system in certificate["at_common_risk"]},
    )
    key = risk_coverage_key(curves, certificate["common_risk_limit"])
    return (
        "Requests are answered in the order of their predicted risk, the safest first. The lower a curve lies, and the "
        "later it rises, the better a system knows which requests are safe to answer. The certificate says how far "
        f"along the curve it may go: with {percent(certificate['confidence'], 0)} confidence, the requests that are "
        "answered although the expert would have taken them are no larger a share of all than the domain's risk limit.",
        columns(f"<figure>{chart}{key}</figure>{_realised(certificate)}", _common_risk(certificate) + _areas(curves)),
    )


def _place(measures: Mapping[str, Any]) -> tuple[float, float]:
    """Return coverage and selective risk; without an answer, nothing is missed of those answered."""
    answered, missed = measures["auto_answered_share"]["value"], measures["missed_share"]["value"]
    return answered, missed / answered if answered else 0.0


def _common_risk(certificate: Mapping[str, Any]) -> str:
    rows = [
        [
            escape(system["title"]),
            percent_cell(system["by_domain"]["auto_answered_share"]),
            percent_cell(system["pooled"]["auto_answered_share"]),
        ]
        for system in certificate["at_common_risk"]
    ]
    limit = percent(certificate["common_risk_limit"], 0)
    caption = (
        f"What each system could answer of the test set, certified in the same way at a risk of {limit} everywhere"
    )
    heads = ["System", "A threshold<br>a domain", "One for<br>all domains"]
    return table(caption, heads, rows, numeric={1, 2}, marked=0)


def _areas(curves: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [escape(curve["title"]), estimate_cell(curve["area"]), estimate_cell(curve["excess_area"])] for curve in curves
    ]
    caption = "The area under each curve, and what it is more than that of the best ordering there is: less is better"
    return table(caption, ["System", "Area (AURC)", "Excess (E-AURC)"], rows, numeric={1, 2}, marked=0)


def _realised(certificate: Mapping[str, Any]) -> str:
    rows = [
        [
            SET_TITLES.get(name, escape(name)),
            percent_cell(found["auto_answered_share"]),
            percent_cell(found["missed_share"]),
        ]
        for name, found in certificate["realised"].items()
    ]
    heads = ["As it is served", "Answered", "Missed, of all"]
    return table("What came of the certificate, at each domain's own limit", heads, rows, numeric={1, 2})


def domains(report: Mapping[str, Any]) -> tuple[str, ...]:
    """Return introduction and content of the section on each domain."""
    found = {item["domain"]: item for item in report["domains"]}
    names = [*found, *(name for name in report["certificate"]["domains"] if name not in found)]
    texts = report["text"]["by_domain"]
    rows = [
        [
            _name(name, found.get(name)),
            *_compliance(found.get(name)),
            _checks(texts.get(name)),
            *_certified(name, report),
        ]
        for name in names
    ]
    heads = [
        "Domain", "Examples", "Accuracy", "Gain, in points", "Right when answered", "Trust required", "Checks kept",
        "Certified risk", "Threshold", "Answered: certified, test", "Missed on test", "Promise",
    ]  # fmt: skip
    default = report["certificate"]["default_threshold"]
    return (
        "An answer is right when the expert did not escalate; the lower bound (one-sided, 95 %, Wilson) of being right "
        "has to reach the trust that the domain requires. Checks are kept by a response that passes every check of the "
        "domain's norms. The certified risk is the upper bound (Clopper-Pearson, 95 %) of a request being answered "
        "although the expert would have taken it, on examples that no calibration "
        "saw. A promise counts as broken when the risk on the test set is above its limit and not by chance. Served is "
        "the lower threshold of the certified one and the one of cost; a domain without a certificate of its own, or "
        f"none stated, gets the most careful: {default:.3f}. The gain is over the best simpler system; q is McNemar's "
        "chance of finding that much by luck, corrected for the number of domains (Benjamini-Hochberg).",
        table(
            "Every domain: by the domain that is true on the left, by the one that the request states on the right",
            heads,
            rows,
            numeric={1, 2, 3, 4, 6, 7, 8, 9, 10},
            kind="dense",
        ),
    )


def _name(name: str, item: Mapping[str, Any] | None) -> str:
    if item is None:
        return escape(name)
    return escape(item["title"]) + (" " + tag("plain", "held out") if item["held_out"] else "")


def _compliance(item: Mapping[str, Any] | None) -> list[str]:
    if item is None:
        return ["0", "", "", "", ""]
    reached = tag("holds", "reached") if item["is_met"] else tag("fails", "not shown")
    return [
        f"{item['num_examples']:,}",
        percent(item["accuracy"]),
        _two_lines(points(item["gain"]), f"q {item['q_value']:.3f}"),
        _two_lines(percent(item["right_when_answered"]), f"at least {percent(item['right_lower_bound'])}"),
        _two_lines(reached, percent(item["required_trust"])),
    ]


def _checks(text: Mapping[str, Any] | None) -> str:
    if text is None:
        return ""
    return _two_lines(percent(text["measures"]["keeps_checks"]["value"]), f"of {text['num_responses']:,} responses")


def _certified(name: str, report: Mapping[str, Any]) -> list[str]:
    certificate = report["certificate"]
    domain = certificate["domains"].get(name)
    if domain is None:
        return ["", _two_lines(f"{certificate['default_threshold']:.3f}", "most careful"), "", "", ""]
    if not domain["threshold"]:
        limit = f"limit {percent(domain['risk_limit'])}"
        return [_two_lines("n/a", limit), "0", "0", "", tag("fails", "none certified")]
    cost = report["calibration"]["thresholds"].get(name)
    return [
        _two_lines(percent(domain["risk_upper_bound"]), f"limit {percent(domain['risk_limit'])}"),
        _two_lines(f"{domain['threshold']:.3f}", "" if cost is None else f"cost {cost:.3f}"),
        *_kept(domain, certificate["realised_by_domain"].get(name)),
    ]


def _kept(domain: Mapping[str, Any], kept: Mapping[str, Any] | None) -> list[str]:
    answered = percent(domain["auto_answered_share"])
    if kept is None:
        return [answered, "", tag("plain", "not tested")]
    return [
        _two_lines(answered, percent(kept["auto_answered_share"])),
        _two_lines(percent(kept["missed_share"]), f"{kept['num_missed']} of {kept['num_examples']:,}"),
        tag("holds", "kept") if kept["holds"] else tag("fails", "broken"),
    ]


def _two_lines(first: str, second: str) -> str:
    return f'{first}<br><span class="range">{second}</span>' if second else first
