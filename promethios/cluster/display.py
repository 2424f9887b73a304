"""What a person sees while a job is followed: the log on stdout; on stderr what happens around it, and a bar."""

from __future__ import annotations

import sys
from typing import Any, Final

from tqdm import tqdm

from promethios.cluster.connection import Connection
from promethios.cluster.follow import follow
from promethios.cluster.progress import parse_progress

_BAR: Final = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt}{postfix}"


class Display:
    """A bar instead of the progress lines on a terminal; every line of the log otherwise."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._has_terminal = sys.stderr.isatty() and sys.stdout.isatty()

    def line(self, text: str) -> None:
        """Show a line of the log."""
        progress = parse_progress(text) if self._has_terminal else None
        if progress is None:
            self._write(text, sys.stdout)
            return
        if self._bar is None:
            self._bar = tqdm(total=progress.steps, desc="train", dynamic_ncols=True, bar_format=_BAR)
        self._bar.total, self._bar.n = progress.steps, progress.step  # back, too: a later attempt may begin earlier
        self._bar.set_postfix_str(
            f"loss {progress.loss:.3f}, {progress.tokens_per_second:,.0f} tokens/s, {_time(progress.eta_seconds)} to go"
        )

    def note(self, text: str) -> None:
        """Show something that the log does not say."""
        self._write(text, sys.stderr)

    def close(self) -> None:
        """Leave the terminal in order."""
        if self._bar is not None:
            self._bar.close()

    def _write(self, text: str, stream: Any) -> None:
        if self._bar is not None:
            tqdm.write(text, file=stream)
        else:
            stream.write(text + "\n")
            stream.flush()


def follow_shown(connection: Connection, name: str, place_options: str) -> int:
    """Follow a job before a person's eyes; returns its exit code. Ctrl-C leaves it running and says how to come back.

    place_options: of the command that leads to the same cluster. Raises ClusterError and KeyboardInterrupt.
    """
    display = Display()
    try:
        return follow(connection, name, display)
    except KeyboardInterrupt:
        display.note(f"the training goes on; come back: promethios logs {name} --follow{place_options}")
        raise
    finally:
        display.close()


def _time(seconds: int) -> str:
    return tqdm.format_interval(seconds)
