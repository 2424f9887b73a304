from __future__ import annotations

import io
import json
import logging
import sys

import pytest

from promethios_serving import decision_log
from promethios_serving.decision_log import show_log
from promethios_serving.json_log import JsonLines


@pytest.fixture
def logger(monkeypatch: pytest.MonkeyPatch) -> logging.Logger:
    """The wrapper's logger as it is before a server starts."""
    fresh = logging.Logger("promethios")
    monkeypatch.setattr(decision_log, "LOGGER", fresh)
    return fresh


class Terminal(io.StringIO):
    """A stderr that somebody looks at."""

    def isatty(self) -> bool:
        return True


def written(stderr: io.StringIO, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "stderr", stderr)
    show_log()
    show_log()
    logger.info("ready:\n%d keys", 3, extra={"fields": {"key": "app"}})
    return stderr.getvalue()


def test_a_log_that_is_collected_is_one_json_object_a_line(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    (line,) = written(io.StringIO(), logger, monkeypatch).splitlines()
    entry = json.loads(line)
    assert entry.pop("time").endswith("+00:00")
    assert entry == {"level": "INFO", "logger": "promethios", "message": "ready:\n3 keys", "key": "app"}


def test_a_person_at_a_terminal_reads_plain_lines(logger: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    assert written(Terminal(), logger, monkeypatch).endswith(" INFO promethios ready:\n3 keys\n")


def test_a_defect_keeps_its_traceback_on_one_line() -> None:
    try:
        raise ValueError("defect")
    except ValueError:
        record = logging.LogRecord("promethios", logging.ERROR, __file__, 1, "broke", None, sys.exc_info())
    line = JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("ValueError: defect")
