"""Pictures as inline SVG, drawn on the server. Colours come from the style sheet by class; each has its words, too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup, escape

from promethios_hub.experiments.confidence_sequence import Interval
from promethios_hub.review_statistics import Day

_DAYS_WIDTH: Final = 1080
_BARS_WIDTH: Final = 480
_BAR: Final = 26


def days(counted: Sequence[Day]) -> Markup:
    """Return arrived and settled reviews a day as pairs of bars."""
    height, below, left = 180, 34, 36
    most = _round_up(max([1, *(max(day.arrived, day.done) for day in counted)]))
    step = (_DAYS_WIDTH - left) / len(counted)
    parts = [_grid(most, height, left)]
    for place, day in enumerate(counted):
        x, wide = left + place * step, step * 0.36
        for offset, kind, count in ((0.12, "arrived", day.arrived), (0.52, "done", day.done)):
            tall = height * count / most
            title = f"{day.date}: {count} {'arrived' if kind == 'arrived' else 'settled'}"
            parts.append(
                f'<rect class="{kind}" x="{x + offset * step:.1f}" y="{10 + height - tall:.1f}" width="{wide:.1f}" '
                f'height="{tall:.1f}"><title>{title}</title></rect>'
            )
        if (len(counted) - place) % 2 or len(counted) < 8:
            parts.append(
                f'<text class="tick" x="{x + step / 2:.1f}" y="{height + 28}" text-anchor="middle">'
                f"{day.date[5:]}</text>"
            )
    words = ", ".join(f"{day.date} {day.arrived} arrived {day.done} settled" for day in counted)
    return _svg(_DAYS_WIDTH, height + below + 10, words, parts)


def bars(counts: Sequence[tuple[str, float, str]], *, most: float | None = None) -> Markup:
    """Return (label, value, text) as horizontal bars; `most`: the value of a full bar, the largest by default."""
    left, right = 150, 100
    full = most or max([value for _, value, _ in counts], default=1) or 1
    parts = []
    for place, (label, value, text) in enumerate(counts):
        y, wide = place * (_BAR + 8) + 4, (_BARS_WIDTH - left - right) * value / full
        parts.append(f'<text class="label" x="{left - 10}" y="{y + 18}" text-anchor="end">{escape(label)}</text>')
        parts.append(f'<rect class="bar" x="{left}" y="{y}" width="{max(wide, 1):.1f}" height="{_BAR}" rx="2"></rect>')
        parts.append(f'<text class="value" x="{left + wide + 8:.1f}" y="{y + 18}">{escape(text)}</text>')
    words = ", ".join(f"{label} {text}" for label, _, text in counts) or "nothing"
    return _svg(_BARS_WIDTH, max(1, len(counts)) * (_BAR + 8) + 4, words, parts)


def threshold_bar(probability: float, threshold: float) -> Markup:
    """Return a probability as a bar with a mark where the model begins to hand over."""
    place = 300 * min(1.0, threshold)
    words = f"probability {probability:.2f}, hands over from {threshold:.2f}"
    return Markup(
        f'<svg class="threshold" viewBox="0 0 300 22" role="img" aria-label="{words}">'
        f'<rect class="track" x="0" y="6" width="300" height="10" rx="5"></rect>'
        f'<rect class="{"over" if probability >= threshold else "under"}" x="0" y="6" '
        f'width="{300 * min(1.0, max(0.0, probability)):.1f}" height="10" rx="5"></rect>'
        f'<line class="mark" x1="{place:.1f}" x2="{place:.1f}" y1="0" y2="22"></line></svg>'
    )


def difference(interval: Interval, reach: float) -> Markup:
    """Return a difference with its interval on an axis from -reach to +reach, zero in the middle."""
    if not math.isfinite(interval.low):
        return Markup('<svg class="difference" viewBox="0 0 240 22" role="img" aria-label="too few sessions"></svg>')

    def x(value: float) -> float:
        return 120 + 112 * max(-1.0, min(1.0, value / reach))

    words = f"{interval.estimate:+.3g}, between {interval.low:+.3g} and {interval.high:+.3g}"
    return Markup(
        f'<svg class="difference" viewBox="0 0 240 22" role="img" aria-label="{words}">'
        f'<line class="zero" x1="120" x2="120" y1="0" y2="22"></line>'
        f'<line class="range" x1="{x(interval.low):.1f}" x2="{x(interval.high):.1f}" y1="11" y2="11"></line>'
        f'<circle class="point" cx="{x(interval.estimate):.1f}" cy="11" r="5"></circle></svg>'
    )


def reach_of(intervals: Sequence[Interval]) -> float:
    """Return how far the axis has to reach to show all of these."""
    ends = [abs(end) for each in intervals for end in (each.low, each.high) if math.isfinite(end)]
    return max(ends, default=1.0) or 1.0


def _grid(most: int, height: int, left: int) -> str:
    lines = []
    for part in (0, 0.5, 1):
        y = 10 + height * (1 - part)
        lines.append(f'<line class="grid" x1="{left}" x2="{_DAYS_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"></line>')
        lines.append(f'<text class="tick" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{most * part:g}</text>')
    return "".join(lines)


def _round_up(value: int) -> int:
    """Return the next number that halves well: 2, 4, 10, 20, 40, 100, ..."""
    size = 1
    while True:
        for step in (2, 4, 10):
            if step * size >= value:
                return step * size
        size *= 10


def _svg(width: int, height: float, words: str, parts: Sequence[str]) -> Markup:
    return Markup(
        f'<svg class="chart w{width}" viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escape(words)}">'
        + "".join(str(part) for part in parts)
        + "</svg>"
    )
