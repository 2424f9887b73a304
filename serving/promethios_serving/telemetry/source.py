"""What a source of live telemetry is, and the one task that keeps it fresh.

A source that cannot be read keeps its last good readings, which grow older; once they are stale the request is
degraded, and the threshold halved. The error is counted and shown by /v1/governance. No request ever waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import Final, Protocol

from promethios.telemetry.document import TelemetryDocument
from promethios.telemetry.state import GovernanceState
from promethios_serving import metrics
from promethios_serving.telemetry.subject import EVERYBODY, Subject

_log: Final = logging.getLogger("promethios.telemetry")


class TelemetrySource(Protocol):
    """Where live telemetry comes from. error: why the newest reading could not be used, or None."""

    @property
    def name(self) -> str:
        """The source's name in metrics and in the status."""

    @property
    def error(self) -> str | None:
        """Why the newest reading could not be used, or None."""

    def state(self, subject: Subject = EVERYBODY) -> GovernanceState | None:
        """Return what holds for a subject now, without waiting for anything slow; None when there never was a state."""

    async def refresh(self) -> None:
        """Bring the source up to date. Does not raise: a failure is counted and kept in `error`."""


class NoTelemetry:
    """No live telemetry: every request without its own is degraded."""

    name = "none"
    error: str | None = None

    def state(self, subject: Subject = EVERYBODY) -> GovernanceState | None:
        """Return None."""
        return None

    async def refresh(self) -> None:
        """Do nothing."""


class LastGood:
    """The last good document, which holds for everybody, and the error that came after it."""

    name = ""

    def __init__(self) -> None:
        self.document: TelemetryDocument | None = None
        self.error: str | None = None

    def state(self, subject: Subject = EVERYBODY) -> GovernanceState | None:
        """Return the state with the ages that it has now."""
        return None if self.document is None else self.document.state_at(time.time())

    def accept(self, document: TelemetryDocument) -> None:
        """Take a new document."""
        self.document = document
        self.error = None

    def fail(self, error: str) -> None:
        """Keep the last document, and the error."""
        report(self.name, error, new=error != self.error)
        self.error = error


def report(source: str, error: str, *, new: bool) -> None:
    """Count a reading that could not be used, and log it when it is another error than last time."""
    metrics.TELEMETRY_ERRORS.labels(source=source).inc()
    if new:
        _log.warning("telemetry from %s: %s; the last good readings keep ageing", source, error)


def show_ages(state: GovernanceState | None) -> None:
    """Set the age gauge of every channel."""
    for channel, reading in state or GovernanceState():
        metrics.TELEMETRY_AGE.labels(channel=channel.name).set(math.inf if reading is None else reading.age_s)


async def keep_fresh(source: TelemetrySource, interval_s: float) -> None:
    """Refresh a source and its gauges for ever."""
    while True:
        await source.refresh()
        show_ages(source.state())
        await asyncio.sleep(interval_s)
