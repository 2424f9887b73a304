"""Pieces of the reports' pages: the page itself, sections, tables, tags and numbers, as HTML text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from promethios.evaluation.console import number

_MARKS = {"holds": "\u2713", "fails": "\u2717"}


def page(title: str, content: Iterable[str]) -> str:
    """Return a whole page that loads nothing and runs nothing. title: text; content: HTML."""
    style = resources.files("promethios.evaluation").joinpath("report.css").read_text(encoding="utf-8")
    body = "\n".join(content)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n"
        f"</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def anchor(title: str) -> str:
    """Return the id of the section with this title."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def contents(titles: Iterable[str]) -> str:
    """Return links to the sections of these titles."""
    links = "".join(f'<li><a href="#{anchor(title)}">{title}</a></li>' for title in titles)
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>'


def section(title: str, introduction: str, *content: str) -> str:
    """Return a section with its title, one introducing paragraph and its content, all HTML."""
    name = anchor(title)
    return (
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>'
        f'<p class="soft">{introduction}</p>{"".join(content)}</section>'
    )


def table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numeric: Collection[int] = (),
    marked: int | None = None,
    kind: str = "",
) -> str:
    """Return a table whose first column names the rows; caption, heads and cells are HTML.

    numeric: columns aligned to the right. marked: index of the row to set off. kind: a class of the style sheet, such
    as `stack` for a table that becomes a list on a narrow screen.
    """
    styles = [' class="n"' if column in numeric else "" for column in range(len(heads))]
    head = "".join(f'<th scope="col"{style}>{text}</th>' for text, style in zip(heads, styles, strict=True))
    lines = []
    for index, (name, *cells) in enumerate(rows):
        data = "".join(
            f'<td{style} data-head="{_plain(text)}">{cell}</td>'
            for cell, text, style in zip(cells, heads[1:], styles[1:], strict=True)
        )
        row_style = ' class="model"' if index == marked else ""
        lines.append(f'<tr{row_style}><th scope="row"{styles[0]}>{name}</th>{data}</tr>\n')
    body = "".join(lines)
    return (
        # What scrolls has to be reachable without a mouse.
        f'<div class="scroll" role="group" tabindex="0" aria-label="{_plain(caption)}"><table class="{kind}">'
        f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>"
    )


def columns(*content: str) -> str:
    """Return HTML pieces side by side, below each other on a narrow screen."""
    return f'<div class="columns">{"".join(f"<div>{item}</div>" for item in content)}</div>'


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Return names and values as a list; both are text."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd><code>{escape(value)}</code></dd>" for name, value in pairs)
    return f"<dl>{rows}</dl>"


def tag(kind: str, text: str) -> str:
    """Return a small label; kind is `holds`, `fails` or `plain`. What it says stands in its text, not in its colour."""
    mark = f'<span aria-hidden="true">{_MARKS[kind]}</span> ' if kind in _MARKS else ""
    return f'<span class="tag {kind}">{mark}{escape(text)}</span>'


def noted(name: str, note: str) -> str:
    """Return a row's name with a plain sentence below it, both HTML."""
    return f'{name}<span class="note">{note}</span>'


def estimate_cell(estimate: Mapping[str, Any]) -> str:
    """Return an estimate as a table cell: the value, the interval below it."""
    return estimate_line(estimate).replace(" ", "<br>", 1)


def estimate_line(estimate: Mapping[str, Any]) -> str:
    """Return an estimate on one line: the value, the interval after it."""
    if estimate["low"] is None:
        return number(estimate["value"])
    ends = f"{estimate['low']:.3f} to {estimate['high']:.3f}"
    return f'{number(estimate["value"])} <span class="range">{ends}</span>'


def percent_cell(estimate: Mapping[str, Any]) -> str:
    """Return an estimate of a share as a table cell: the percentage, its interval below it."""
    return f'{percent(estimate["value"])}<br><span class="range">{percent_range(estimate)}</span>'


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share as a percentage with so many decimals."""
    return "n/a" if value is None else f"{100 * value:.{digits}f}\u00a0%"


def percent_range(estimate: Mapping[str, Any]) -> str:
    """Return an interval of shares as percentages; empty where the data define none."""
    return "" if estimate["low"] is None else f"{100 * estimate['low']:.1f} to {100 * estimate['high']:.1f}\u00a0%"


def points(difference: float) -> str:
    """Return a difference of two shares in points of a hundred, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "\u2212")


def points_cell(estimate: Mapping[str, Any]) -> str:
    """Return an estimate of a difference of two shares as a table cell: the points, their interval below it."""
    if estimate["low"] is None:
        return "n/a" if estimate["value"] is None else points(estimate["value"])
    ends = f"{points(estimate['low'])} to {points(estimate['high'])}"
    return f'{points(estimate["value"])}<br><span class="range">{ends}</span>'


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return nested data as (dotted name, text) pairs."""
    if not isinstance(value, Mapping):
        return [(prefix, f"{value:.4f}" if isinstance(value, float) else str(value))]
    return [pair for key, item in value.items() for pair in flat(item, f"{prefix}.{key}" if prefix else str(key))]


def _plain(html: str) -> str:
    """Return HTML without its tags, fit for an attribute."""
    return re.sub(r"<[^>]*>", "", html)
