"""Passes an upstream's server-sent events on as they arrive, whole ones only; tells a cut stream from an ended one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Final

import aiohttp

from promethios_serving.openai_errors import RequestRefused
from promethios_serving.wrapped.upstream import cut_off

_END_OF_EVENT: Final = b"\n\n"
_BARE_DATA: Final = re.compile(rb"^data:(?! )", re.MULTILINE)
_MAX_EVENT_BYTES: Final = 4 * 1024 * 1024


class StreamCut(Exception):
    """The stream ended early; refusal says why, in the shape of an error event."""

    def __init__(self, refusal: RequestRefused) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


async def relayed_events(content: aiohttp.StreamReader, has_ended: Callable[[bytes], bool]) -> AsyncIterator[bytes]:
    """Yield the stream's bytes up to the end of an event each time, `\\n` at line ends, `data: ` with its space.

    has_ended: says of whole events whether the stream's end is among them. Raises StreamCut for one that stops before.
    """
    held, done = b"", False
    try:
        async for chunk in content.iter_any():
            held += chunk
            if b"\r" in held:
                held = _with_newlines(held)
            cut = held.rfind(_END_OF_EVENT)
            if cut >= 0:
                whole, held = _BARE_DATA.sub(b"data: ", held[: cut + 2]), held[cut + 2 :]
                done = done or has_ended(whole)
                yield whole
            elif len(held) > _MAX_EVENT_BYTES:
                break
    except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
        if not done:
            raise StreamCut(cut_off(error)) from None
    if not done:
        raise StreamCut(cut_off())


def _with_newlines(text: bytes) -> bytes:
    """Return text with `\\r\\n` as `\\n`; a last `\\r` waits for what follows."""
    waiting = b"\r" if text.endswith(b"\r") else b""
    return text[: len(text) - len(waiting)].replace(b"\r\n", b"\n") + waiting
