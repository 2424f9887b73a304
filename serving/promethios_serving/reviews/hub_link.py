"""The engine's end of the hub: the spool, the task that empties it, and the reviews, as the settings say."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass

from promethios_serving.reviews.review_record import DecidingModel
from promethios_serving.reviews.reviews import Reviews
from promethios_serving.reviews.sender import Sender
from promethios_serving.reviews.spool import Spool
from promethios_serving.settings import Settings


@dataclass(frozen=True, slots=True)
class HubLink:
    """What connects a running server to its hub. sending: the task that sends, until `close`."""

    spool: Spool
    reviews: Reviews
    sending: asyncio.Task[None]

    async def close(self) -> None:
        """Stop sending; what still waits stays on disk for the next engine.

        Only for wrapped mode: vLLM tells nobody that it ends, and need not, since the death of its process gives the
        spool's lock back and the next engine adopts the folder.
        """
        self.sending.cancel()
        with suppress(asyncio.CancelledError):
            await self.sending
        self.spool.close()


def hub_link(settings: Settings, model: DecidingModel) -> HubLink | None:
    """Connect to the hub; None when none is set. Needs a running event loop.

    Raises ConfigError for a spool that cannot be written. A hub that is away is no reason not to start.
    """
    if settings.hub_url is None:
        return None
    engine = socket.gethostname()
    spool = Spool(settings.spool_dir, engine, settings.spool_max_bytes)
    sender = Sender(spool, settings.hub_url, settings.hub_key)
    reviews = Reviews(spool, engine=engine, model=model, audit_rate=settings.audit_rate)
    return HubLink(spool, reviews, asyncio.create_task(sender.run()))
