"""A chain of JSON lines: each holds the hash of the one before, so that none can be changed, added or taken away.

    {"time": "...", "decision": "answer", ..., "previous": "<hash of the line before>", "hash": "<hash of this line>"}

The hash is the SHA-256 of the line's own bytes up to the comma before `hash`: nobody has to agree on how JSON is
written in order to check it. The first line's `previous` is GENESIS.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

GENESIS: Final = "0" * 64
_SEALED: Final = re.compile(rb'(\{.+"previous":"([0-9a-f]{64})"),"hash":"([0-9a-f]{64})"\}\n', re.DOTALL)


class BrokenChain(Exception):
    """A line that is not what was written. line: its number in its file, from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


@dataclass(frozen=True, slots=True)
class Link:
    """One line: the hash that it names as the one before, and its own."""

    previous: str
    hash: str


def sealed(record: Mapping[str, Any], previous: str) -> tuple[bytes, str]:
    """Return the line of a record and its hash."""
    body = json.dumps({**record, "previous": previous}, separators=(",", ":")).encode()[:-1]
    digest = hashlib.sha256(body).hexdigest()
    return b'%s,"hash":"%s"}\n' % (body, digest.encode()), digest


def link_of(line: bytes) -> Link | None:
    """Return the link of a line, newline included; None when it is not whole or not what was written."""
    found = _SEALED.fullmatch(line)
    if found is None or hashlib.sha256(found[1]).hexdigest().encode() != found[3]:
        return None
    return Link(previous=found[2].decode(), hash=found[3].decode())


def verified(lines: Iterable[bytes], previous: str | None = None) -> Iterable[Link]:
    """Yield the links of a file's lines. previous: hash that the first must name; None for any.

    Raises BrokenChain at the first line that was changed or does not follow the one before.
    """
    for number, line in enumerate(lines, start=1):
        link = link_of(line)
        if link is None:
            raise BrokenChain(number, "is not what was written: it was changed or cut")
        if previous is not None and link.previous != previous:
            raise BrokenChain(number, "does not follow the line before: lines were taken away, added or moved")
        previous = link.hash
        yield link
