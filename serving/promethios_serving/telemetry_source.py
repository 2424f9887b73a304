"""Live telemetry: from a file, from an HTTP URL, or from nowhere.

A source that cannot be read keeps its last good state, which grows older; once it is stale the request is degraded, and
the threshold halved. The error is counted and shown by /v1/governance.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
import math
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final, Protocol

from promethios.errors import TelemetryError
from promethios.telemetry.document import (
    MAX_DOCUMENT_BYTES,
    TelemetryDocument,
    document_from_plain,
    parse_document,
    read_telemetry_file,
)
from promethios.telemetry.state import GovernanceState
from promethios_serving import metrics
from promethios_serving.settings import Settings

_log: Final = logging.getLogger("promethios.telemetry")


class TelemetrySource(Protocol):
    """Where live telemetry comes from. error: why the newest reading could not be used, or None."""

    name: str
    error: str | None

    def state(self) -> GovernanceState | None:
        """Return the state as it is now, without waiting for anything slow; None when there never was one."""

    async def refresh(self) -> None:
        """Bring the source up to date."""


class NoTelemetry:
    """No live telemetry: every request without its own is degraded."""

    name = "none"
    error: str | None = None

    def state(self) -> GovernanceState | None:
        """Return None."""
        return None

    async def refresh(self) -> None:
        """Do nothing."""


class _LastGood:
    """The last good document and the error that came after it."""

    name = ""

    def __init__(self) -> None:
        self.document: TelemetryDocument | None = None
        self.error: str | None = None

    def _accept(self, document: TelemetryDocument) -> None:
        self.document = document
        self.error = None

    def _fail(self, error: str) -> None:
        metrics.TELEMETRY_ERRORS.labels(source=self.name).inc()
        if error != self.error:
            _log.warning("telemetry: %s; the last good state keeps ageing", error)
        self.error = error

    def _aged(self) -> GovernanceState | None:
        return None if self.document is None else self.document.state_at(time.time())


class FileTelemetry(_LastGood):
    """A YAML or JSON file, re-read when its time, size or inode changes (a ConfigMap swaps the inode)."""

    name = "file"

    def __init__(self, path: Path) -> None:
        """Read the file once. Raises TelemetryError when it cannot be read: a server does not start on a bad file."""
        super().__init__()
        self.path = path
        self._seen = self._signature()
        self._accept(read_telemetry_file(path))

    def state(self) -> GovernanceState | None:
        """Return the state now; looks at the file's metadata and reads it only after a change."""
        signature = self._signature()
        if signature != self._seen:
            self._seen = signature
            try:
                self._accept(read_telemetry_file(self.path))
            except TelemetryError as error:
                self._fail(str(error))
        return self._aged()

    async def refresh(self) -> None:
        """Notice a change while no request comes in."""
        self.state()

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


class UrlTelemetry(_LastGood):
    """A JSON document behind a URL, fetched in the background and never while a request waits."""

    name = "url"

    def __init__(self, url: str, timeout_s: float) -> None:
        super().__init__()
        self.url = url
        self.timeout_s = timeout_s

    def state(self) -> GovernanceState | None:
        """Return the state now; ages grow while the URL is down."""
        return self._aged()

    async def refresh(self) -> None:
        """Fetch the document."""
        try:
            raw = await asyncio.to_thread(self._fetch)
            self._accept(document_from_plain(parse_document(raw, is_json=True), time.time()))
        except TelemetryError as error:
            self._fail(f"{self.url}: {error}")

    def _fetch(self) -> bytes:
        try:
            with urllib.request.urlopen(self.url, timeout=self.timeout_s) as response:
                body: bytes = response.read(MAX_DOCUMENT_BYTES + 1)
                if len(body) <= MAX_DOCUMENT_BYTES and response.length:
                    raise http.client.IncompleteRead(body, response.length)
                return body
        except urllib.error.HTTPError as error:
            raise TelemetryError(f"HTTP status {error.code}") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise TelemetryError(f"cannot be fetched: {getattr(error, 'reason', error)}") from None


def telemetry_source(settings: Settings) -> TelemetrySource:
    """Return the source that the settings name. Raises TelemetryError for a file that cannot be read."""
    if settings.telemetry_file:
        return FileTelemetry(settings.telemetry_file)
    if settings.telemetry_url:
        return UrlTelemetry(settings.telemetry_url, settings.telemetry_timeout_s)
    return NoTelemetry()


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
