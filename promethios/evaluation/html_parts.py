"""Pieces of the report's page: sections, tables, tags and numbers, as HTML text."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from promethios.evaluation.console import number


def section(title: str, introduction: str, *content: str) -> str:
    """Return a section with its title, one introducing paragraph and its content, all HTML."""
    return f'<section><h2>{title}</h2><p class="soft">{introduction}</p>{"".join(content)}</section>'


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Collection[int] = (), marked: int | None = None
) -> str:
    """Return a table whose first column names the rows; cells are HTML.

    numeric: columns aligned to the right. marked: index of the row to set off.
    """
    styles = [' class="n"' if column in numeric else "" for column in range(len(heads))]
    head = "".join(f'<th scope="col"{style}>{text}</th>' for text, style in zip(heads, styles, strict=True))
    lines = []
    for index, (name, *cells) in enumerate(rows):
        data = "".join(f"<td{style}>{cell}</td>" for cell, style in zip(cells, styles[1:], strict=True))
        row_style = ' class="model"' if index == marked else ""
        lines.append(f'<tr{row_style}><th scope="row"{styles[0]}>{name}</th>{data}</tr>\n')
    body = "".join(lines)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


def tag(kind: str, text: str) -> str:
    """Return a small label; kind is `holds`, `fails` or `plain`. What it says stands in its text, not in its colour."""
    return f'<span class="tag {kind}">{escape(text)}</span>'


def estimate_cell(estimate: Mapping[str, Any]) -> str:
    """Return an estimate as a table cell: the value, the interval below it."""
    return estimate_line(estimate).replace(" ", "<br>", 1)


def estimate_line(estimate: Mapping[str, Any]) -> str:
    """Return an estimate on one line: the value, the interval after it."""
    if estimate["low"] is None:
        return number(estimate["value"])
    ends = f"{estimate['low']:.3f} to {estimate['high']:.3f}"
    return f'{number(estimate["value"])} <span class="range">{ends}</span>'


def percent(value: float | None) -> str:
    """Return a share as a percentage with one decimal."""
    return "n/a" if value is None else f"{100 * value:.1f} %"


def percent_range(estimate: Mapping[str, Any]) -> str:
    """Return an interval of shares as percentages; empty where the data define none."""
    return "" if estimate["low"] is None else f"{100 * estimate['low']:.1f} to {100 * estimate['high']:.1f} %"


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return nested data as (dotted name, text) pairs."""
    if not isinstance(value, Mapping):
        return [(prefix, f"{value:.4f}" if isinstance(value, float) else str(value))]
    return [pair for key, item in value.items() for pair in flat(item, f"{prefix}.{key}" if prefix else str(key))]
