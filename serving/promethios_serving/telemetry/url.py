"""Live telemetry from an HTTP URL."""

from __future__ import annotations

import time

from promethios.errors import TelemetryError
from promethios.telemetry.document import MAX_DOCUMENT_BYTES, document_from_plain, parse_document
from promethios_serving.shown_url import shown_url
from promethios_serving.telemetry.fetch import fetch
from promethios_serving.telemetry.source import LastGood


class UrlTelemetry(LastGood):
    """A JSON document behind a URL."""

    name = "url"

    def __init__(self, url: str, timeout_s: float) -> None:
        super().__init__()
        self.url = url
        self.timeout_s = timeout_s

    async def refresh(self) -> None:
        """Fetch the document."""
        try:
            raw = await fetch(self.url, timeout_s=self.timeout_s, max_bytes=MAX_DOCUMENT_BYTES)
            self.accept(document_from_plain(parse_document(raw, is_json=True), time.time()))
        except TelemetryError as error:
            self.fail(f"{shown_url(self.url)}: {error}")
