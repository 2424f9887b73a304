"""Charts of values with their intervals on one scale as inline SVG: one row a system, or one bar a score."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

_WIDTH: Final = 400.0
_EDGE: Final = 10.0
_ROW: Final = 36.0
_SCALE_ROW: Final = 26.0
_SHARE_ON_SCALE: Final = 2.0 / 3.0
"""Of the systems, best first: one bad rule must not press all others together. The rest are arrows at the edge."""


@dataclass(frozen=True)
class Row:
    """One system's estimate.

    kind: `model`, `baseline`, `compared` or `ceiling`; for a difference `gain` or `no-gain`.
    """

    name: str
    kind: str
    estimate: Mapping[str, float | None]


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float

    def x(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return _EDGE + share * (_WIDTH - 2.0 * _EDGE)


def intervals_svg(
    name: str, title: str, rows: Sequence[Row], show: Callable[[float], str], *, higher_is_better: bool = True
) -> str:
    """Return one row for each system: its name and value above a dot with its 95 % interval.

    name: unique among the page's charts. show: how a value is written. A row without a value is left out. Thin lines
    in every row mark the model's value and the ceiling's, or for differences 0.
    """
    shown = [row for row in rows if row.estimate["value"] is not None]
    scale = _scale(shown, higher_is_better)
    height = _ROW * len(shown) + _SCALE_ROW
    bottom = height - _SCALE_ROW
    parts = [
        f'<svg class="chart intervals" viewBox="0 0 {_WIDTH:.0f} {height:.0f}" role="img" '
        f'aria-labelledby="{name}-title {name}-text">',
        f'<title id="{name}-title">{escape(title)}</title>',
        f'<desc id="{name}-text">{escape("; ".join(_in_words(row, show) for row in shown))}</desc>',
    ]
    for index, row in enumerate(shown):
        top = _ROW * index
        parts += [_reference(kind, scale.x(value), top) for kind, value in _references(shown)]
        parts += _row(row, scale, top, show)
    parts += [
        f'<polyline class="scale" points="{_EDGE:.0f},{bottom - 1:.0f} {_EDGE:.0f},{bottom + 4:.0f} '
        f'{_WIDTH - _EDGE:.0f},{bottom + 4:.0f} {_WIDTH - _EDGE:.0f},{bottom - 1:.0f}"/>',
        f'<text class="tick" x="{_EDGE:.0f}" y="{height - 5:.0f}">{show(scale.low)}</text>',
        f'<text class="tick" x="{_WIDTH - _EDGE:.0f}" y="{height - 5:.0f}" text-anchor="end">{show(scale.high)}</text>',
        "</svg>",
    ]
    return "\n".join(parts)


def interval_bar(score: Mapping[str, Any]) -> str:
    """Return a score between 0 and 1 as a bar with its interval and, where there is one, the seed's target."""
    if score["value"] is None:
        return ""
    low, high = (score[end] if score[end] is not None else score["value"] for end in ("low", "high"))
    target = score["seed_target"]
    mark = (
        ""
        if target is None
        else f'<line class="target" x1="{100 * target:.1f}" y1="0" x2="{100 * target:.1f}" y2="12"/>'
    )
    return (
        '<svg class="bar" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" x="0" y="4" width="100" height="4"/>'
        f'<rect class="fill" x="0" y="4" width="{100 * score["value"]:.1f}" height="4"/>'
        f'<rect class="interval" x="{100 * low:.1f}" y="1.5" width="{100 * (high - low):.1f}" height="9"/>{mark}</svg>'
    )


def _scale(rows: Sequence[Row], higher_is_better: bool) -> _Scale:
    ordered = sorted(rows, key=lambda row: _value(row), reverse=higher_is_better)
    # What the rows are compared with is always on the scale.
    kept = [
        *ordered[: math.ceil(_SHARE_ON_SCALE * len(ordered))],
        *(row for row in rows if row.kind in ("model", "ceiling")),
    ]
    ends = [end for row in kept for end in _ends(row)] + [value for kind, value in _references(rows) if kind == "zero"]
    low, high = min(ends), max(ends)
    margin = 0.04 * (high - low) or 0.5
    return _Scale(low - margin, high + margin)


def _references(rows: Sequence[Row]) -> list[tuple[str, float]]:
    if any(row.kind in ("gain", "no-gain") for row in rows):
        return [("zero", 0.0)]
    return [(row.kind, _value(row)) for row in rows if row.kind in ("model", "ceiling")]


def _reference(kind: str, x: float, top: float) -> str:
    return f'<line class="reference {kind}" x1="{x:.1f}" y1="{top + 19:.0f}" x2="{x:.1f}" y2="{top + 33:.0f}"/>'


def _row(row: Row, scale: _Scale, top: float, show: Callable[[float], str]) -> list[str]:
    value, (low, high) = _value(row), _ends(row)
    x, y = scale.x(value), top + 26.0
    parts = [
        f'<text class="name {row.kind}" x="0" y="{top + 14:.1f}">{escape(row.name)}</text>',
        f'<text class="value" x="{_WIDTH:.0f}" y="{top + 14:.1f}" text-anchor="end">'
        f'<tspan class="name {row.kind}">{show(value)}</tspan> {show(low)} to {show(high)}</text>',
        f'<line class="track" x1="{_EDGE:.0f}" y1="{y:.1f}" x2="{_WIDTH - _EDGE:.0f}" y2="{y:.1f}"/>',
    ]
    if not scale.low <= value <= scale.high:
        return [*parts, _arrow(x, y, 1.0 if value > scale.high else -1.0)]
    ends = f'x1="{scale.x(low):.1f}" y1="{y:.1f}" x2="{scale.x(high):.1f}" y2="{y:.1f}"'
    return [*parts, f'<line class="interval {row.kind}" {ends}/>', _mark(row.kind, x, y)]


def _mark(kind: str, x: float, y: float) -> str:
    if kind == "ceiling":
        points = f"{x:.1f},{y - 6:.1f} {x + 6:.1f},{y:.1f} {x:.1f},{y + 6:.1f} {x - 6:.1f},{y:.1f}"
        return f'<polygon class="dot ceiling" points="{points}"/>'
    if kind == "compared":
        return f'<rect class="dot compared" x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"/>'
    return f'<circle class="dot {kind}" cx="{x:.1f}" cy="{y:.1f}" r="{6 if kind == "model" else 5}"/>'


def _arrow(x: float, y: float, direction: float) -> str:
    back = x - 9.0 * direction
    return f'<polygon class="dot off" points="{x:.1f},{y:.1f} {back:.1f},{y - 5:.1f} {back:.1f},{y + 5:.1f}"/>'


def _value(row: Row) -> float:
    return float(row.estimate["value"] or 0.0)


def _ends(row: Row) -> tuple[float, float]:
    """Return the interval's ends; the value itself where the data define none."""
    low, high = row.estimate["low"], row.estimate["high"]
    return (_value(row), _value(row)) if low is None or high is None else (low, high)


def _in_words(row: Row, show: Callable[[float], str]) -> str:
    low, high = _ends(row)
    return f"{row.name} {show(_value(row))} ({show(low)} to {show(high)})"
