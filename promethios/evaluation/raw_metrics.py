"""Finds raw metrics in a response: users are to read friendly words, never the telemetry behind them.

A response leaks when it holds tag text, anything that the ontology forbids there (a named metric such as "trust score",
reserved tokens), a telemetry word in capitals ("CONSENSUS"), or a number equal to a reading of its own request ("0.72",
"72 %").
"""

from __future__ import annotations

import re
from typing import Final

from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.state import CHANNELS, GovernanceState
from promethios.telemetry.tags import TAG_TEXT

_CHECKS: Final = ("shows_no_raw_metric", "shows_no_control_text")
"""The ontology's checks of the same norm; what they forbid is a leak here too."""
_WORD: Final = re.compile(r"\b(?:" + "|".join(word for channel in CHANNELS for word in channel.values) + r")\b")


def raw_metrics(response: str, state: GovernanceState | None) -> list[str]:
    """Return every raw metric that a response exposes, as it stands there; empty when it exposes none.

    state: the telemetry that the response was given under; None checks for numbers of no reading.
    """
    patterns = (TAG_TEXT, *_forbidden(), _WORD, *_reading_patterns(state))
    return [match.group() for pattern in patterns for match in pattern.finditer(response)]


def _forbidden() -> list[re.Pattern[str]]:
    checks = load_ontology().checks
    return [pattern for name in _CHECKS if (pattern := checks[name].must_not_match) is not None]


def _reading_patterns(state: GovernanceState | None) -> list[re.Pattern[str]]:
    """Patterns of the numeric readings, as a decimal (0.72, .72) and as a percentage (72 %, 72 percent)."""
    readings = [float(reading.value) for channel, reading in state or () if reading is not None and channel.is_number]
    patterns = []
    for number in sorted(set(readings)):
        decimals = f"{number:.2f}"[1:]
        whole = "0?" if number < 1.0 else "1"
        patterns.append(re.compile(rf"(?<![\d.]){whole}{re.escape(decimals)}(?!\d)"))
        patterns.append(re.compile(rf"(?<![\d.]){round(100 * number)}\s*(?:%|percent\b)", re.IGNORECASE))
    return patterns
