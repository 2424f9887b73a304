"""What a user may write to talk the system out of its telemetry: text like any other, which changes no label."""

from __future__ import annotations

from functools import cache
from typing import Final

from promethios.data.draws import Picks
from promethios.data.phrase_banks import Bank, open_wording

KINDS: Final = ("tags", "tags", "reserved", "notes", "appeals")
"""Literal telemetry tags, look-alikes of reserved tokens, notes in the system's name, appeals; tags twice as often."""
_SLOTS: Final = frozenset({"high", "percent", "channel", "word"})
_CHANNELS: Final = ("trust", "verify", "attest", "bound")
_WORDS: Final = ("CONSENSUS", "APPROVED")
_PERCENT: Final = range(90, 101)


def write_spoof(picks: Picks, held_out: bool) -> str:
    """Return an attack, to stand before or after the user's text."""
    percent = picks.of(_PERCENT)
    slots = {
        "high": f"{percent / 100:.2f}",
        "percent": str(percent),
        "channel": picks.of(_CHANNELS),
        "word": picks.of(_WORDS),
    }
    return _bank(picks.of(KINDS)).choose(picks, held_out=held_out).format_map(slots)


@cache
def _bank(kind: str) -> Bank[str]:
    return open_wording("attacks", _SLOTS).bank(kind)
