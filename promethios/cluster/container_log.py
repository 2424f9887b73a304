"""The log of one container, line by line, across lost connections: no line twice, none left out.

The API gives lines from a whole second on, so what was shown of that second is passed over. Times have nine digits
after the point on every node, so they compare as text; lines of one time are counted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from urllib3.exceptions import HTTPError

from promethios.cluster.connection import Connection, ConnectionLost, Refused


class Position:
    """Which lines of a log have been shown: all before `time`, and `count` of that time."""

    def __init__(self) -> None:
        self.time, self.count, self._met = "", 0, 0

    def begin_read(self) -> None:
        """Begin to meet lines from some time at or before `time` on."""
        self._met = 0

    def is_new(self, time: str) -> bool:
        """Return whether the next line that is met, of that time, has not been shown; it counts as shown then."""
        if time < self.time:
            return False
        if time > self.time:
            self.time, self.count, self._met = time, 0, 0
        self._met += 1
        if self._met <= self.count:
            return False
        self.count = self._met
        return True


class ContainerLog:
    """Reads in a thread of its own. show: called with each line, without its time.

    A read ends with the container, with the connection, or when nothing came for a minute; whoever owns this starts
    the next one, until `is_complete`.
    """

    def __init__(self, connection: Connection, pod: str, container: str, show: Callable[[str], None]) -> None:
        self.pod, self.container = pod, container
        self.is_complete = False
        self._connection, self._show = connection, show
        self._position = Position()
        self._thread: threading.Thread | None = None

    @property
    def is_reading(self) -> bool:
        """True while a read is under way."""
        return self._thread is not None and self._thread.is_alive()

    def read(self, *, has_ended: bool) -> None:
        """Begin a read where the last one stopped, unless one is under way or all was read.

        has_ended: the container writes no more, so that this read, if it comes to the end, is the last.
        """
        if self.is_complete or self.is_reading:
            return
        self._thread = threading.Thread(target=self._read, args=(has_ended,), daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until the read under way ends, at most so long."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _read(self, has_ended: bool) -> None:
        self._position.begin_read()
        try:
            response = self._connection.log(self.pod, self.container, follow=True, since=self._position.time or None)
            try:
                for line in _lines(response.stream(amt=None), has_ended):
                    time, _, text = line.partition(" ")
                    if self._position.is_new(time):
                        self._show(text)
                self.is_complete = has_ended
            finally:
                response.close()
        except Refused as error:
            self.is_complete = error.status == 404  # the pod is gone; 400: the container is only being made
        except (ConnectionLost, HTTPError, OSError):
            return


def _lines(chunks: Iterator[bytes], has_ended: bool) -> Iterator[str]:
    """Yield the lines. One without an end is cut short, and comes again with the next read, unless all has ended."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", errors="replace")
    if rest and has_ended:
        yield rest.decode("utf-8", errors="replace")
