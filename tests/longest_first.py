"""How the test files are shared between pytest-xdist's workers under `--dist loadfile`."""

from __future__ import annotations

from typing import Any, Final

import pytest
from xdist.scheduler import LoadFileScheduling

WITH_VLLM: Final = (
    "tests/serving/test_attacks.py",
    "tests/serving/test_vllm_server.py",
    "tests/serving/test_openai_surface.py",
    "tests/serving/test_openapi_document.py",
    "tests/serving/wrapped/test_over_vllm.py",
)
"""They ask the same server, which takes 36 s of CPU time to start: one worker runs them all."""

LONGEST_FIRST: Final = (
    *WITH_VLLM,
    "tests/e2e/test_run_training.py",
    "tests/e2e/test_loop.py",
    "tests/test_training_attempt.py",
    "tests/training/test_resume.py",
    "tests/evaluation/harness/test_lm_eval_tasks.py",
    "tests/serving/test_self_questioning.py",
    "tests/training/test_pretrained_training.py",
)
"""So that no worker begins a long file when the others are done; the short ones follow in the usual order."""


class Schedule(LoadFileScheduling):
    """Gives out long files and, of the short ones, whole folders, which share what is dear; in collection's order."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # which is by number of tests

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        if file in WITH_VLLM:
            return "vllm"
        return file if file in LONGEST_FIRST else file.rpartition("/")[0]


def place(item: pytest.Item) -> int:
    """Return where a test's file stands among the long ones."""
    file = item.nodeid.partition("::")[0]
    return LONGEST_FIRST.index(file) if file in LONGEST_FIRST else len(LONGEST_FIRST)
