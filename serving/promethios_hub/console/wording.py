"""What the console says in words: plain ones, and no number that a reviewer cannot use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from promethios.telemetry.state import CHANNELS

STATES: Final = {"open": "Open", "waiting": "Waiting", "assigned": "Taken", "done": "Settled"}
REASONS: Final = {"escalated": "handed over", "audit": "random check", "user_asked": "the user asked"}
WHY: Final = {
    "escalated": "The model handed this question to a person.",
    "audit": "The model answered by itself. Answers are drawn at random for checking.",
    "user_asked": "The user asked for a person.",
}
DECISIONS: Final = {
    "answer": "answer",
    "caveat": "answer with a caveat",
    "clarify": "ask back",
    "escalate": "hand to a person",
}
ACTIONS: Final = {"approve": "approved", "edit": "edited", "override": "overridden", "reject": "rejected"}
ROLES: Final = {
    "user": "User",
    "assistant": "Model",
    "system": "Instructions",
    "developer": "Instructions",
    "tool": "Tool",
}
_STEPS: Final = ((60, "s", 1), (3600, "min", 60), (86400, "h", 3600))


def duration(seconds: float) -> str:
    """Return a length of time in its largest unit: 40 s, 12 min, 3 h, 2 days."""
    for below, unit, size in _STEPS:
        if seconds < below:
            return f"{int(seconds // size)} {unit}"
    days = int(seconds // 86400)
    return f"{days} day{'' if days == 1 else 's'}"


def age(moment: datetime) -> str:
    """Return how long ago something was."""
    return duration(max(0.0, (datetime.now(UTC) - moment).total_seconds()))


def moment(value: datetime) -> str:
    """Return a time to the minute, in UTC."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def percent(share: float) -> str:
    """Return a share in percent: whole numbers, no 0 % for what is not nothing, and no line break before the sign."""
    if 0 < share < 0.01:
        return "below 1\N{NO-BREAK SPACE}%"
    return f"{share * 100:.0f}\N{NO-BREAK SPACE}%"


def level(probability: float) -> str:
    """Return a probability of an uncertainty in words."""
    if probability >= 0.6:
        return "likely"
    return "possible" if probability >= 0.3 else "unlikely"


def refusal(reason: str, message: str) -> str:
    """Return what a reviewer reads when a change was refused."""
    if reason == "conflict":
        return f"Somebody else worked on this review meanwhile; what you see now is its newest state. ({message}.)"
    return message


def telemetry(state: Any) -> list[tuple[str, str, str]]:
    """Return (channel, value, age) of the telemetry that the model read, in the order of the channels."""
    lines = []
    for channel in CHANNELS:
        reading = (state or {}).get(channel.name)
        if reading is None:
            lines.append((channel.name, "missing", ""))
            continue
        value, seconds = (reading.get("value"), reading.get("age_s", 0)) if isinstance(reading, dict) else (reading, 0)
        lines.append((channel.name, str(value), duration(float(seconds))))
    return lines


def counted(pairs: Iterable[tuple[str, int]], ontology: Any = None) -> list[tuple[str, float, str]]:
    """Return the bars of counts; with an ontology, labels are domains."""

    def label(name: str) -> str:
        if ontology is None:
            return name
        return str(ontology.domains[name].title) if name in ontology.domains else (name or "no domain")

    return [(label(name), float(count), str(count)) for name, count in pairs]


def agreements(shares: Mapping[str, tuple[int, int]]) -> list[tuple[str, float, str]]:
    """Return the bars of (agreed, settled) by the model's decision, in the order of care."""
    return [
        (words, shares[name][0] / shares[name][1], f"{percent(shares[name][0] / shares[name][1])} of {shares[name][1]}")
        for name, words in DECISIONS.items()
        if name in shares
    ]


def amount(value: float, unit: str) -> str:
    """Return a measured value with its unit."""
    if unit == "share":
        return f"{value * 100:.1f} %"
    return f"{value:.3g} {unit}"


def signed(value: float, unit: str) -> str:
    """Return a difference with its sign; of shares in percentage points."""
    if unit == "share":
        return f"{value * 100:+.1f} points"
    return f"{value:+.3g} {unit}"


def between(low: float, high: float, unit: str) -> str:
    """Return the ends of a difference's interval; empty while there are too few sessions for one."""
    if not math.isfinite(low):
        return ""
    if unit == "share":
        low, high = low * 100, high * 100
    return f"{low:+.3g} to {high:+.3g}"
