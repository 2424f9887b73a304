"""Ranks of a training, forked from a process that has imported everything: most of a short run is imports.

They get the variables that torchrun gives. Its own part, the agent, is tested in tests/test_training_attempt.py.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

LIMIT_S = 300.0


class Training:
    """A running `python -m COMMAND ARGUMENTS` on one rank or, with gloo, on several."""

    def __init__(
        self,
        arguments: Sequence[object],
        log: Path,
        *,
        ranks: int = 1,
        command: str = "promethios.train_governance_model",
    ) -> None:
        forked = multiprocessing.get_context("forkserver")
        forked.set_forkserver_preload(["tests.training.imported_once"])
        self._log = log
        log.touch()
        words = list(map(str, arguments))
        self._ranks = [
            forked.Process(target=_run_rank, args=(command, words, environment, log), daemon=True)
            for environment in _environments(ranks)
        ]
        for rank in self._ranks:
            rank.start()

    @property
    def is_running(self) -> bool:
        return any(rank.is_alive() for rank in self._ranks)

    @property
    def output(self) -> str:
        """What the ranks have written so far."""
        return self._log.read_text(encoding="utf-8")

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to every rank."""
        for rank in self._ranks:
            assert rank.pid is not None
            os.kill(rank.pid, number)

    def kill(self) -> None:
        """Kill every rank at once, as the loss of its machine does."""
        for rank in self._ranks:
            rank.kill()
        self.end()

    def end(self) -> int:
        """Wait for the end; returns the first exit code that is not 0, else 0."""
        for rank in self._ranks:
            rank.join(LIMIT_S)
        assert not self.is_running, self.output
        return next((rank.exitcode for rank in self._ranks if rank.exitcode), 0)


def _environments(ranks: int) -> list[dict[str, str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]


def _run_rank(command: str, arguments: list[str], environment: dict[str, str], log: Path) -> None:
    os.environ.update(environment)
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.exit(importlib.import_module(command).main(arguments))
