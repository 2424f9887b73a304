"""Fetching telemetry over HTTP: bounded in time and in size, every failure one TelemetryError."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import aiohttp

from promethios.errors import TelemetryError


class BadStatus(TelemetryError):
    """A reply with another status than 200; `body` is what it said."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"HTTP status {status}")
        self.body = body


async def fetch(
    url: str,
    *,
    timeout_s: float,
    max_bytes: int,
    parameters: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return the body of a GET. Raises BadStatus, and TelemetryError when it cannot be fetched whole in time."""
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.get(url, params=parameters, allow_redirects=False) as reply,
        ):
            body = bytearray()
            async for chunk in reply.content.iter_any():
                body += chunk
                if len(body) > max_bytes:
                    raise TelemetryError(f"more than {max_bytes} bytes; telemetry is a few lines")
            if reply.status != HTTPStatus.OK:
                raise BadStatus(reply.status, bytes(body))
            return bytes(body)
    except TimeoutError:
        raise TelemetryError(f"cannot be fetched: no whole reply within {timeout_s:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise TelemetryError(f"cannot be fetched: {error or type(error).__name__}") from None
