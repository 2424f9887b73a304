"""What `status` and the bar read is what training writes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from promethios.cluster.progress import (
    LastWords,
    parse_attempt,
    parse_checkpoint,
    parse_last_words,
    parse_progress,
)


def test_the_line_that_training_writes_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from promethios.training.progress import ProgressLog

    log = ProgressLog(tmp_path, tokens_per_step=1000.0)
    state: Any = SimpleNamespace(is_world_process_zero=True, global_step=3, max_steps=40)
    nothing = cast(Any, None)
    log.on_train_begin(nothing, state, nothing)
    state.global_step = 7
    losses = {"loss": 5.25, "loss_language": 4.0, "loss_decision": 1.25, "learning_rate": 1e-3}
    log.on_log(nothing, state, nothing, losses)
    progress = parse_progress(capsys.readouterr().err)
    assert progress is not None
    assert (progress.step, progress.steps, progress.loss) == (7, 40, 5.25)
    assert progress.tokens_per_second > 0
    assert progress.eta_seconds >= 0


@pytest.mark.parametrize("line", ["", "resuming from runs/gov/checkpoint-30", "step 3", "step 3/40  loss"])
def test_other_lines_are_no_progress(line: str) -> None:
    assert parse_progress(line) is None


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("attempt 3, step 140, newest checkpoint 120: stopped by SIGTERM", LastWords(3, 140, 120)),
        ("attempt 1, step 0, newest checkpoint none: rank 0: no such file", LastWords(1, 0, None)),
        ("OOMKilled", None),
    ],
)
def test_the_last_words_of_an_attempt_are_read(message: str, expected: LastWords | None) -> None:
    assert parse_last_words(message) == expected


def test_attempt_and_checkpoint_are_read_from_the_log() -> None:
    assert parse_attempt("attempt 3, step 140, newest checkpoint 120: stopped by SIGTERM") == 3
    assert parse_attempt("the attempt before made no progress") is None
    assert parse_checkpoint("resuming from /workspace/runs/gov/checkpoint-30") == 30
    assert parse_checkpoint("checkpoint-40 saved: 0.2 s, then 1.4 s beside the training") == 40
    assert parse_checkpoint("checkpoint-40 is damaged: a file is missing") is None
