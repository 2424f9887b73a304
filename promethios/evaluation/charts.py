"""The report's charts as inline SVG. Colours come from the page's style sheet by class and follow light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

_SIZE: Final = 400.0
_LEFT: Final = 56.0
_TOP: Final = 12.0
_HISTOGRAM_TOP: Final = _TOP + _SIZE + 14.0
_HISTOGRAM_HEIGHT: Final = 64.0
_TICKS: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

_ROW_HEIGHT: Final = 30.0
_LABEL_WIDTH: Final = 330.0
_PLOT_WIDTH: Final = 330.0
_VALUE_WIDTH: Final = 190.0


def reliability_svg(reliability: Mapping[str, Any]) -> str:
    """Return the reliability diagram: bins with intervals, smoothed curve with its band, diagonal, histogram."""
    height = _HISTOGRAM_TOP + _HISTOGRAM_HEIGHT + 46.0
    count = sum(reliability["histogram"])
    parts = [
        f'<svg class="chart" viewBox="0 0 {_LEFT + _SIZE + 26:.0f} {height:.0f}" role="img" '
        'aria-labelledby="reliability-title reliability-text">',
        '<title id="reliability-title">Reliability diagram</title>',
        f'<desc id="reliability-text">{escape(_in_words(reliability["bins"], count))}</desc>',
        *_axes(),
        f'<line class="diagonal" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>',
        _band(reliability),
        _line("curve", reliability["grid"], reliability["curve"]),
        *map(_bin, reliability["bins"]),
        *_histogram(reliability["histogram"]),
        "</svg>",
    ]
    return "\n".join(parts)


def gains_svg(systems: Sequence[Mapping[str, Any]]) -> str:
    """Return the model's accuracy gain over each baseline as points with intervals on one scale."""
    ends = [system["model_gains"]["accuracy"][end] for system in systems for end in ("low", "high")]
    low, high = min(0.0, *ends), max(0.0, *ends)
    margin = 0.06 * (high - low or 1.0)
    low, high = low - margin, high + margin

    def x(value: float) -> str:
        return f"{_LABEL_WIDTH + (value - low) / (high - low) * _PLOT_WIDTH:.1f}"

    width, height = _LABEL_WIDTH + _PLOT_WIDTH + _VALUE_WIDTH, _ROW_HEIGHT * (len(systems) + 1)
    zero = x(0.0)
    parts = [
        f'<svg class="chart wide" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-labelledby="gains-title">',
        '<title id="gains-title">Accuracy of the model minus accuracy of each baseline, with 95 % intervals</title>',
        f'<line class="zero" x1="{zero}" y1="0" x2="{zero}" y2="{height - 24:.0f}"/>',
        f'<text class="tick" x="{zero}" y="{height - 8:.0f}" text-anchor="middle">no difference</text>',
    ]
    for row, system in enumerate(systems):
        gain, y = system["model_gains"]["accuracy"], (row + 0.5) * _ROW_HEIGHT
        text = f"{100 * gain['value']:+.1f} [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}]"
        kind = "gain" if gain["low"] > 0 else "no-gain"
        parts += [
            f'<text x="0" y="{y + 4:.0f}">{escape(system["title"])}</text>',
            f'<line class="{kind}" x1="{x(gain["low"])}" y1="{y:.1f}" x2="{x(gain["high"])}" y2="{y:.1f}"/>',
            f'<circle class="{kind}" cx="{x(gain["value"])}" cy="{y:.1f}" r="5"/>',
            f'<text class="value" x="{width:.0f}" y="{y + 4:.0f}" text-anchor="end">{text} points</text>',
        ]
    return "\n".join([*parts, "</svg>"])


def interval_bar(score: Mapping[str, Any]) -> str:
    """Return a score between 0 and 1 as a bar with its interval and, where there is one, the seed's target."""
    if score["value"] is None:
        return ""
    low, high = score["low"], score["high"]
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


def _x(probability: float) -> str:
    return f"{_LEFT + probability * _SIZE:.1f}"


def _y(frequency: float) -> str:
    return f"{_TOP + (1.0 - frequency) * _SIZE:.1f}"


def _axes() -> list[str]:
    parts = [f'<rect class="frame" x="{_x(0)}" y="{_y(1)}" width="{_SIZE:.0f}" height="{_SIZE:.0f}"/>']
    bottom = _HISTOGRAM_TOP + _HISTOGRAM_HEIGHT
    for tick in _TICKS:
        parts += [
            f'<line class="grid" x1="{_x(0)}" y1="{_y(tick)}" x2="{_x(1)}" y2="{_y(tick)}"/>',
            f'<line class="grid" x1="{_x(tick)}" y1="{_y(0)}" x2="{_x(tick)}" y2="{_y(1)}"/>',
            f'<text class="tick" x="{_LEFT - 8:.0f}" y="{float(_y(tick)) + 4:.1f}" text-anchor="end">{tick:.0%}</text>',
            f'<text class="tick" x="{_x(tick)}" y="{bottom + 18:.0f}" text-anchor="middle">{tick:.0%}</text>',
        ]
    middle = _TOP + _SIZE / 2
    parts += [
        f'<text class="axis" x="{_LEFT + _SIZE / 2:.0f}" y="{bottom + 40:.0f}" text-anchor="middle">'
        "predicted probability of escalation</text>",
        f'<text class="axis" transform="translate(14 {middle:.0f}) rotate(-90)" text-anchor="middle">'
        "how often the expert escalated</text>",
    ]
    return parts


def _band(reliability: Mapping[str, Any]) -> str:
    upper = [f"{_x(x)},{_y(y)}" for x, y in zip(reliability["grid"], reliability["high"], strict=True)]
    lower = [f"{_x(x)},{_y(y)}" for x, y in zip(reliability["grid"], reliability["low"], strict=True)]
    return f'<polygon class="band" points="{" ".join([*upper, *reversed(lower)])}"/>'


def _line(kind: str, xs: Sequence[float], ys: Sequence[float]) -> str:
    points = " ".join(f"{_x(x)},{_y(y)}" for x, y in zip(xs, ys, strict=True))
    return f'<polyline class="{kind}" points="{points}"/>'


def _bin(item: Mapping[str, Any]) -> str:
    x = _x(item["probability"])
    text = f"{item['count']} examples: predicted {item['probability']:.1%}, escalated {item['frequency']:.1%}"
    return (
        f'<g class="bin"><title>{text}</title>'
        f'<line x1="{x}" y1="{_y(item["low"])}" x2="{x}" y2="{_y(item["high"])}"/>'
        f'<circle cx="{x}" cy="{_y(item["frequency"])}" r="4"/></g>'
    )


def _histogram(counts: Sequence[int]) -> list[str]:
    width = _SIZE / len(counts)
    tallest = max(counts)
    parts = []
    for index, count in enumerate(counts):
        height = count / tallest * (_HISTOGRAM_HEIGHT - 12.0)
        x, y = _LEFT + index * width, _HISTOGRAM_TOP + _HISTOGRAM_HEIGHT - height
        parts.append(
            f'<rect class="count" x="{x + 0.5:.1f}" y="{y:.1f}" width="{width - 1:.1f}" height="{height:.1f}"/>'
        )
        if count:
            parts.append(
                f'<text class="count" x="{x + width / 2:.1f}" y="{y - 3:.1f}" text-anchor="middle">{count}</text>'
            )
    return parts


def _in_words(bins: Sequence[Mapping[str, Any]], count: int) -> str:
    pairs = "; ".join(f"{item['probability']:.0%} predicted, {item['frequency']:.0%} escalated" for item in bins)
    return f"{count} examples in {len(bins)} bins of equal mass: {pairs}."
