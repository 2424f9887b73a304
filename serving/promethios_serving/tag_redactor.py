"""Removes governance tags (`<gov:...>`) from generated text that arrives in pieces.

The second line of defence: reserved ids cannot be sampled, so a model can only ever spell a tag out. Any cutting of a
text into pieces gives the same result as the whole text at once. Text that may yet become a tag is held back, at most
the beginnings of tags at its end.
"""

from __future__ import annotations

import re
from typing import Final

from promethios.telemetry.tags import TAG_TEXT
from promethios_serving import metrics

_UNFINISHED: Final = re.compile(r"(<(/?(g(o(v(:[^<>\n]{0,200})?)?)?)?)?)+\Z", re.IGNORECASE)
"""The beginning of a tag at the end of the text, or of several: once the inner one is removed, the outer may go on."""


class TagRedactor:
    """Redacts one text; feed it the pieces in order."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str, *, final: bool) -> str:
        """Return the text that is safe to show now. `final` says that nothing follows."""
        text = self._held + piece
        # again and again: what is left around a removed tag may be one
        while (found := TAG_TEXT.subn("", text))[1]:
            text = found[0]
            metrics.REDACTED_TAGS.inc(found[1])
        unfinished = None if final else _UNFINISHED.search(text)
        cut = unfinished.start() if unfinished else len(text)
        self._held = text[cut:]
        return text[:cut]
