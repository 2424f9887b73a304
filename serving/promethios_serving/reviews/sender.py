"""Brings what the spool holds to the hub: in batches, again and again until the hub has it.

A document is removed only after the hub's 200. The hub takes a document once, by its id, so a batch that was stored
and whose reply was lost is simply sent again. A hub that is away, slow or broken is waited for; a document that it
refuses for ever (400, 413, 422) is found by halving the batch and put aside.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Final

import aiohttp

from promethios_serving import metrics
from promethios_serving.reviews.spool import KINDS, Spool

MAX_BATCH: Final = 500
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
_TIMEOUT_S: Final = 10.0
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 30.0
_LOOK_S: Final = 10.0
"""Seconds between two looks for folders of engines that died."""
_JSON: Final = {"content-type": "application/json"}
_REFUSED: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)
_log: Final = logging.getLogger("promethios.reviews")


class HubAway(Exception):
    """The hub did not take a batch; it may take it later."""


class Sender:
    """Sends the documents of a spool to `<hub_url>/v1/<kind>`."""

    def __init__(self, spool: Spool, hub_url: str, hub_key: str | None, *, timeout_s: float = _TIMEOUT_S) -> None:
        self.spool = spool
        self._url = hub_url.rstrip("/")
        self._headers = {} if hub_key is None else {"authorization": f"Bearer {hub_key}"}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def run(self) -> None:
        """Send for ever."""
        async with aiohttp.ClientSession(headers=self._headers, timeout=self._timeout) as session:
            wait_s = _FIRST_WAIT_S
            while True:
                try:
                    await self.send_all(session)
                except HubAway as error:
                    _log.warning("the hub is away, %d documents wait: %s", self.spool.waiting, error)
                    await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
                    wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                    continue
                except OSError as error:
                    metrics.HUB_ERRORS.labels(reason="spool").inc()
                    _log.error("the spool cannot be read: %s", error)
                    await asyncio.sleep(_LONGEST_WAIT_S)
                    continue
                wait_s = _FIRST_WAIT_S
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.spool.arrived.wait(), _LOOK_S)

    async def send_all(self, session: aiohttp.ClientSession) -> None:
        """Send what waits now, that of dead engines included. Raises HubAway, and OSError for a spool that fails."""
        for folder in await asyncio.to_thread(self.spool.adopt):
            _log.warning("%s: its engine died; what it left is sent from here", folder.name)
        self.spool.arrived.clear()
        for kind in KINDS:
            while files := await asyncio.to_thread(self.spool.oldest, kind, MAX_BATCH, MAX_BATCH_BYTES):
                await self._send(session, kind, files)

    async def _send(self, session: aiohttp.ClientSession, kind: str, files: list[Path]) -> None:
        """Send these documents and forget them, or put aside the one that the hub refuses. Raises HubAway."""
        documents = [await asyncio.to_thread(file.read_bytes) for file in files]
        body = b'{"%s": [%s]}' % (kind.encode(), b", ".join(documents))
        reason = await self._post(session, f"{self._url}/v1/{kind}", body)
        if reason is None:
            await asyncio.to_thread(self.spool.remove, files)
            metrics.REVIEWS_SENT.labels(kind=kind).inc(len(files))
        elif len(files) > 1:
            middle = len(files) // 2
            await self._send(session, kind, files[:middle])
            await self._send(session, kind, files[middle:])
        else:
            metrics.HUB_ERRORS.labels(reason="refused").inc()
            target = await asyncio.to_thread(self.spool.reject, files[0], reason)
            _log.error("the hub refuses a document for ever; it was put aside as %s", target)

    async def _post(self, session: aiohttp.ClientSession, url: str, body: bytes) -> str | None:
        """Return None when the hub has it, its reason when it will never take it. Raises HubAway for the rest."""
        try:
            async with session.post(url, data=body, headers=_JSON, allow_redirects=False) as reply:
                text = await reply.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            metrics.HUB_ERRORS.labels(reason="unreachable").inc()
            raise HubAway(f"{url}: {error or type(error).__name__}") from None
        if reply.status == HTTPStatus.OK:
            return None
        if reply.status in _REFUSED:
            return text
        metrics.HUB_ERRORS.labels(reason="status").inc()
        raise HubAway(f"{url}: HTTP status {reply.status}")
