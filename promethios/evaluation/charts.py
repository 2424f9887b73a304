"""Charts on two axes as inline SVG: reliability and risk-coverage.

Colours come from the page's style sheet by class and follow light and dark. What a colour says, a line's pattern or a
mark's shape says too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from promethios.evaluation.html_parts import percent

_WIDTH: Final = 400.0
_LEFT: Final = 80.0
_RIGHT: Final = 26.0
_TOP: Final = 12.0
_BELOW: Final = 52.0
_HISTOGRAM_GAP: Final = 14.0
_HISTOGRAM_HEIGHT: Final = 64.0
_SHARES: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Frame:
    """A plotting area in units of the view box: x runs from 0 to 1, y from 0 to `y_most`."""

    height: float
    y_most: float = 1.0

    def x(self, value: float) -> str:
        """Return the horizontal place of a value."""
        return f"{_LEFT + value * _WIDTH:.1f}"

    def y(self, value: float) -> str:
        """Return the vertical place of a value."""
        return f"{_TOP + (1.0 - value / self.y_most) * self.height:.1f}"

    def line(self, kind: str, xs: Sequence[float], ys: Sequence[float]) -> str:
        """Return a line through points."""
        return f'<polyline class="{kind}" points="{" ".join(self._points(xs, ys))}"/>'

    def band(self, kind: str, xs: Sequence[float], low: Sequence[float], high: Sequence[float]) -> str:
        """Return the area between two lines."""
        points = [*self._points(xs, high), *reversed(self._points(xs, low))]
        return f'<polygon class="{kind}" points="{" ".join(points)}"/>'

    def axes(self, *, x_title: str, y_title: str, y_ticks: Sequence[float], below: float = 0.0) -> list[str]:
        """Return frame, grid, ticks and titles; below: height of what stands between the frame and the x ticks."""
        bottom = _TOP + self.height + below
        parts = [f'<rect class="frame" x="{self.x(0)}" y="{_TOP}" width="{_WIDTH:.0f}" height="{self.height:.0f}"/>']
        for tick in _SHARES:
            x = self.x(tick)
            parts += [
                f'<line class="grid" x1="{x}" y1="{self.y(0)}" x2="{x}" y2="{_TOP}"/>',
                f'<text class="tick" x="{x}" y="{bottom + 19:.0f}" text-anchor="middle">{percent(tick, 0)}</text>',
            ]
        for tick in y_ticks:
            y = self.y(tick)
            parts += [
                f'<line class="grid" x1="{self.x(0)}" y1="{y}" x2="{self.x(1)}" y2="{y}"/>',
                f'<text class="tick" x="{_LEFT - 8:.0f}" y="{float(y) + 4:.1f}" text-anchor="end">'
                f"{percent(tick, 0)}</text>",
            ]
        middle = _TOP + self.height / 2
        return [
            *parts,
            f'<text class="axis" x="{_LEFT + _WIDTH / 2:.0f}" y="{bottom + 43:.0f}" text-anchor="middle">'
            f"{x_title}</text>",
            f'<text class="axis" transform="translate(16 {middle:.0f}) rotate(-90)" text-anchor="middle">'
            f"{y_title}</text>",
        ]

    def svg(self, name: str, title: str, text: str, parts: Sequence[str], *, below: float = 0.0) -> str:
        """Return the whole image. name: unique on the page; title and text: what it shows, for those who cannot see."""
        height = _TOP + self.height + below + _BELOW
        return "\n".join(
            [
                f'<svg class="chart" viewBox="0 0 {_LEFT + _WIDTH + _RIGHT:.0f} {height:.0f}" role="img" '
                f'aria-labelledby="{name}-title {name}-text">',
                f'<title id="{name}-title">{escape(title)}</title>',
                f'<desc id="{name}-text">{escape(text)}</desc>',
                *parts,
                "</svg>",
            ]
        )

    def _points(self, xs: Sequence[float], ys: Sequence[float]) -> list[str]:
        return [f"{self.x(x)},{self.y(y)}" for x, y in zip(xs, ys, strict=True)]


def reliability_svg(reliability: Mapping[str, Any], name: str = "reliability") -> str:
    """Return the reliability diagram: bins with intervals, smoothed curve with its band, diagonal, histogram.

    name: unique among the page's charts.
    """
    frame, below = Frame(height=_WIDTH), _HISTOGRAM_GAP + _HISTOGRAM_HEIGHT
    axes = frame.axes(
        x_title="predicted probability of escalation",
        y_title="how often the expert escalated",
        y_ticks=_SHARES,
        below=below,
    )
    parts = [
        *axes,
        frame.line("diagonal", (0.0, 1.0), (0.0, 1.0)),
        frame.band("band", reliability["grid"], reliability["low"], reliability["high"]),
        frame.line("curve", reliability["grid"], reliability["curve"]),
        *(_bin(frame, item) for item in reliability["bins"]),
        *_histogram(reliability["histogram"], bottom=_TOP + _WIDTH + below),
    ]
    text = _bins_in_words(reliability["bins"], sum(reliability["histogram"]))
    return frame.svg(name, "Reliability diagram", text, parts, below=below)


def reliability_key() -> str:
    """Return what the marks of `reliability_svg` mean."""
    return _key(
        ("dot", "bin of equal mass with 95 % interval"),
        ("band", "smoothed, with 95 % band"),
        ("line diagonal", "perfect calibration"),
        ("bar", "number of examples"),
    )


def risk_coverage_svg(
    curves: Sequence[Mapping[str, Any]], *, served: tuple[float, float], certified: Mapping[str, tuple[float, float]]
) -> str:
    """Return the risk-coverage curves of several systems, the model's with its band.

    curves: of `risk_coverage_curves`, the model's first. served: coverage and risk of the model as it is served.
    certified: key -> coverage and risk of a system that is certified at the common risk limit.
    """
    most = max(value for curve in curves for value in curve["risk"])
    step = 0.02 if most <= 0.1 else 0.05 if most <= 0.3 else 0.1
    frame = Frame(height=300.0, y_most=step * max(2, math.ceil(most / step - 1e-9)))
    ticks = [step * index for index in range(round(frame.y_most / step) + 1)]
    axes = frame.axes(x_title="answered without a person", y_title="missed, of those answered", y_ticks=ticks)
    model = curves[0]
    # The end where all is answered is the same for all: what is above the frame is of few answers, and is left out.
    band = [[min(value, frame.y_most) for value in model[end]] for end in ("low", "high")]
    parts = [
        *axes,
        frame.band("band", model["coverage"], *band),
        *(frame.line(f"curve {curve['kind']}", curve["coverage"], curve["risk"]) for curve in reversed(curves)),
        *(
            _point(frame, f"certified {curve['kind']}", certified[curve["key"]], f"{curve['title']}, certified")
            for curve in curves
            if curve["key"] in certified
        ),
        _point(frame, "served", served, f"{model['title']}, as served"),
    ]
    of_served = (
        f"As it is served, {model['title']} answers {percent(served[0])} and misses {percent(served[1])} of these"
    )
    text = "; ".join([of_served, *map(_curve_in_words, curves)])
    return frame.svg("risk-coverage", "Risk against coverage", f"{text}.", parts)


def risk_coverage_key(curves: Sequence[Mapping[str, Any]], common_risk_limit: float) -> str:
    """Return what the marks of `risk_coverage_svg` mean."""
    model, *others = curves
    return _key(
        (f"line {model['kind']}", f"{escape(model['title'])}, with 95 % band"),
        *((f"line {curve['kind']}", escape(curve["title"])) for curve in others),
        ("diamond", "as it is served"),
        ("ring", f"certified to miss {percent(common_risk_limit, 0)} of all, one threshold"),
    )


def _curve_in_words(curve: Mapping[str, Any]) -> str:
    places = (0.5, 0.75, 1.0)
    nearest = [min(range(len(curve["coverage"])), key=lambda i: abs(curve["coverage"][i] - place)) for place in places]
    points = ", ".join(
        f"{percent(curve['risk'][i])} at {percent(curve['coverage'][i], 0)} answered" for i in dict.fromkeys(nearest)
    )
    return f"{curve['title']}: missed {points}"


def _point(frame: Frame, kind: str, place: tuple[float, float], title: str) -> str:
    x, y = float(frame.x(place[0])), float(frame.y(min(place[1], frame.y_most)))
    text = f"{escape(title)}: answers {percent(place[0])}, missed {percent(place[1])} of these"
    shape = (
        f'<polygon points="{x:.1f},{y - 8:.1f} {x + 8:.1f},{y:.1f} {x:.1f},{y + 8:.1f} {x - 8:.1f},{y:.1f}"/>'
        if kind == "served"
        else f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6"/>'
    )
    return f'<g class="{kind}"><title>{text}</title>{shape}</g>'


def _key(*entries: tuple[str, str]) -> str:
    items = "".join(f'<li><i class="{kind}"></i>{text}</li>' for kind, text in entries)
    return f'<ul class="key">{items}</ul>'


def _bin(frame: Frame, item: Mapping[str, Any]) -> str:
    x = frame.x(item["probability"])
    text = f"{item['count']} examples: predicted {percent(item['probability'])}, escalated {percent(item['frequency'])}"
    return (
        f'<g class="bin"><title>{text}</title>'
        f'<line x1="{x}" y1="{frame.y(item["low"])}" x2="{x}" y2="{frame.y(item["high"])}"/>'
        f'<circle cx="{x}" cy="{frame.y(item["frequency"])}" r="4"/></g>'
    )


def _histogram(counts: Sequence[int], bottom: float) -> list[str]:
    width, tallest = _WIDTH / len(counts), max(counts)
    parts = []
    for index, count in enumerate(counts):
        height = count / tallest * (_HISTOGRAM_HEIGHT - 12.0)
        x, y = _LEFT + index * width, bottom - height
        ends = [percent(end / len(counts), 0) for end in (index, index + 1)]
        parts.append(
            f"<g><title>{count} examples from {ends[0]} to {ends[1]}</title>"
            f'<rect class="count" x="{x + 0.5:.1f}" y="{y:.1f}" width="{width - 1:.1f}" height="{height:.1f}"/></g>'
        )
        if count:
            parts.append(
                f'<text class="count" x="{x + width / 2:.1f}" y="{y - 3:.1f}" text-anchor="middle">{count}</text>'
            )
    return parts


def _bins_in_words(bins: Sequence[Mapping[str, Any]], count: int) -> str:
    pairs = "; ".join(
        f"{percent(item['probability'], 0)} predicted, {percent(item['frequency'], 0)} escalated" for item in bins
    )
    return f"{count} examples in {len(bins)} bins of equal mass: {pairs}."
