"""Live telemetry from the hub: readings about everybody, a tenant, an agent or a session.

Of each channel the most specific reading holds, stale or not: a session whose trust was low does not become
trustworthy because nobody speaks about it any more. A subject that nobody spoke about for a day is forgotten.

Another source, if one is set, lies beneath: what it says holds for everybody the hub says nothing about.
"""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime
from typing import Any, Final

from promethios.errors import TelemetryError
from promethios.telemetry.state import GovernanceState, Reading
from promethios_serving.shown_url import shown_url
from promethios_serving.telemetry.fetch import fetch
from promethios_serving.telemetry.source import TelemetrySource, report
from promethios_serving.telemetry.subject import EVERYBODY, Subject

MAX_SUBJECTS: Final = 100_000
FORGOTTEN_AFTER_S: Final = 24 * 3600.0
_MAX_PAGE_BYTES: Final = 8 * 1024 * 1024
_MAX_PAGES: Final = 1000
Readings = dict[str, tuple[float | str, float]]
"""Channel to value and time (Unix seconds)."""
News = dict[str, tuple[float | str | None, float]]
"""The same as the hub tells it: a reading that was withdrawn has the value None."""


class HubTelemetry:
    """What the hub was told about each subject, fetched as far as it is new."""

    name = "hub"

    def __init__(self, url: str, key: str | None, timeout_s: float, beneath: TelemetrySource) -> None:
        self._url = f"{url.rstrip('/')}/v1/telemetry"
        self._headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._timeout_s = timeout_s
        self._beneath = beneath
        self._cursor: str | None = None
        self._readings: dict[Subject, tuple[float, Readings]] = {}
        """When a subject was last spoken about, and its readings; the oldest news first."""
        self._error: str | None = None

    @property
    def error(self) -> str | None:
        """Why the newest reading could not be used, the hub's or that of the source beneath."""
        return self._error or self._beneath.error

    def state(self, subject: Subject = EVERYBODY) -> GovernanceState | None:
        """Return what holds for a subject now: session over agent over tenant over everybody, channel by channel."""
        known = [self._readings[layer][1] for layer in reversed(subject.layers()) if layer in self._readings]
        beneath = self._beneath.state(subject)
        if not known:
            return beneath
        newest: Readings = {}
        for layer in known:
            newest |= layer
        now = time.time()
        readings = {} if beneath is None else {c.name: r for c, r in beneath if r is not None}
        readings |= {name: Reading(value, max(0.0, now - at)) for name, (value, at) in newest.items()}
        return GovernanceState(**readings)

    async def refresh(self) -> None:
        """Fetch what is new, here and beneath."""
        await asyncio.gather(self._beneath.refresh(), self._refresh())
        self._forget(time.time())

    async def _refresh(self) -> None:
        refused: list[str] = []
        try:
            for _ in range(_MAX_PAGES):
                if not self._take_all(await self._page(), refused):
                    break
        except TelemetryError as problem:
            refused.append(str(problem))
        error = f"{shown_url(self._url)}: {'; '.join(refused[:3])}" if refused else None
        if error is not None:
            report(self.name, error, new=error != self._error)
        self._error = error

    async def _page(self) -> list[Any]:
        """Fetch the next page of news and move the cursor. Raises TelemetryError."""
        raw = await fetch(
            self._url,
            timeout_s=self._timeout_s,
            max_bytes=_MAX_PAGE_BYTES,
            parameters={} if self._cursor is None else {"after": self._cursor},
            headers=self._headers,
        )
        try:
            page = json.loads(raw)
            entries = list(page["data"])
            if page["next"] is not None:
                self._cursor = str(page["next"])
        except (ValueError, LookupError, TypeError, RecursionError):
            raise TelemetryError("the reply is not the hub's") from None
        return entries

    def _take_all(self, entries: list[Any], refused: list[str]) -> bool:
        """Take a page's entries, and note why not, so that one bad entry does not stop the others.

        Returns whether there was anything new: the hub repeats its last seconds, so that no write slips through.
        """
        news = False
        for entry in entries:
            try:
                subject, told = _entry(entry)
            except TelemetryError as error:
                refused.append(str(error))
                continue
            known = self._readings.get(subject, (0.0, {}))[1]
            now_known = {name: (v, at) for name, (v, at) in (known | told).items() if v is not None}
            if now_known != known:
                news = True
                self._readings.pop(subject, None)
                if now_known:
                    self._readings[subject] = (time.time(), now_known)
        return news

    def _forget(self, now: float) -> None:
        """Drop subjects without news for a day, and the oldest beyond the limit."""
        for subject, (spoken_about, _) in list(self._readings.items()):
            if len(self._readings) <= MAX_SUBJECTS and now - spoken_about < FORGOTTEN_AFTER_S:
                return
            if subject == EVERYBODY:
                continue
            del self._readings[subject]


def _entry(entry: Any) -> tuple[Subject, News]:
    """Return whom an entry is about and what it says, with times in Unix seconds. Raises TelemetryError."""
    try:
        subject = Subject(**entry["subject"]).layers()[0]
        channels = dict(entry["telemetry"])
        told = {name: (reading["value"], _seconds(reading["at"])) for name, reading in channels.items()}
    except (LookupError, TypeError, ValueError, AttributeError):
        raise TelemetryError("an entry is not the hub's") from None
    readings = {name: None if v is None else {"value": v, "at": at} for name, (v, at) in told.items()}
    GovernanceState.from_mapping(readings, now=time.time())
    return subject, told


def _seconds(at: Any) -> float:
    return datetime.fromisoformat(at).timestamp() if isinstance(at, str) else float(at)
