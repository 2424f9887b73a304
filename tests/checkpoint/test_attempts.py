"""The ledger of attempts: what it records, what it survives, when it says that enough is enough."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promethios.checkpoint.attempts import (
    KILLED,
    LEDGER,
    MAX_DELAY_SECONDS,
    MAX_FRUITLESS,
    Attempt,
    Progress,
    begin_attempt,
    delay_seconds,
    end_attempt,
    fruitless_attempts,
    progress,
    read_attempts,
    record_resumption,
    why_exhausted,
)
from promethios.checkpoint.manifest import MANIFEST
from promethios.errors import CheckpointError

INFRASTRUCTURE, STOPPED, GATES = 138, 143, 1


def write_log(folder: Path, *entries: tuple[int, float]) -> None:
    """Append (step, step_seconds) to a stage's metrics.jsonl."""
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    with (folder / "logs" / "metrics.jsonl").open("a") as stream:
        stream.writelines(json.dumps({"step": step, "step_seconds": seconds}) + "\n" for step, seconds in entries)


def write_checkpoint(folder: Path, step: int, *, is_complete: bool = True) -> None:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    if is_complete:
        (checkpoint / MANIFEST).write_text("{}")


def ended(number: int, exit_code: int | None, last_step: int = 0, checkpoint_step: int = 0) -> Attempt:
    return Attempt(
        attempt=number, exit_code=exit_code, reason="why", last_step=last_step, checkpoint_step=checkpoint_step
    )


def test_an_attempt_is_read_back_as_it_was_recorded(tmp_path: Path) -> None:
    attempt = begin_attempt(tmp_path, pod="gov-master-0", node="gpu-7")
    write_log(tmp_path, (10, 1.0), (12, 0.2))
    write_checkpoint(tmp_path, 10)
    end_attempt(tmp_path, attempt, INFRASTRUCTURE, "rank 1 was killed by SIGKILL")
    (read,) = read_attempts(tmp_path)
    assert (read.attempt, read.pod, read.node, read.started) == (1, "gov-master-0", "gpu-7", attempt.started)
    assert (read.exit_code, read.reason) == (INFRASTRUCTURE, "rank 1 was killed by SIGKILL")
    assert (read.last_step, read.checkpoint_step) == (12, 10)
    assert read.ended is not None and read.ended >= read.started


def test_an_attempt_that_recorded_no_end_is_closed_by_the_next_with_what_it_reached(tmp_path: Path) -> None:
    begin_attempt(tmp_path, pod="a", node="")
    write_log(tmp_path, (30, 1.0))
    write_checkpoint(tmp_path, 20)
    second = begin_attempt(tmp_path, pod="b", node="")
    first, open_one = read_attempts(tmp_path)
    assert second.attempt == open_one.attempt == 2
    assert (first.reason, first.exit_code, first.ended) == (KILLED, None, None)
    assert (first.last_step, first.checkpoint_step) == (30, 20)
    assert open_one.reason is None


def test_a_record_cut_short_by_a_kill_spoils_no_other(tmp_path: Path) -> None:
    begin_attempt(tmp_path, pod="a", node="")
    with (tmp_path / LEDGER).open("a") as stream:
        stream.write('{"attempt": 1, "ended": 17')
    begin_attempt(tmp_path, pod="b", node="")
    assert [attempt.pod for attempt in read_attempts(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize("line", ["[]", '{"step": 1}', '{"attempt": "one"}', '{"attempt": 1, "colour": "red"}'])
def test_a_ledger_that_is_none_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / LEDGER).write_text(line + "\n")
    with pytest.raises(CheckpointError, match=rf"{LEDGER}:1: .*move the file away"):
        read_attempts(tmp_path)


def test_a_ledger_that_cannot_be_written_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / LEDGER).mkdir()
    with pytest.raises(CheckpointError, match="cannot be written"):
        begin_attempt(tmp_path, pod="a", node="")


def test_progress_counts_complete_checkpoints_and_all_stages(tmp_path: Path) -> None:
    assert progress(tmp_path) == Progress(0, 0)
    write_log(tmp_path / "stage-1-modules", (10, 1.0), (20, 1.0))
    write_checkpoint(tmp_path / "stage-1-modules", 20)
    write_log(tmp_path, (5, 1.0))
    write_checkpoint(tmp_path, 5)
    write_checkpoint(tmp_path, 10, is_complete=False)
    assert progress(tmp_path) == Progress(last_step=25, checkpoint_step=25)


def test_going_on_from_a_checkpoint_tells_what_was_lost_and_what_was_kept(tmp_path: Path) -> None:
    begin_attempt(tmp_path, pod="a", node="")
    before = record_resumption(tmp_path, tmp_path, 0)
    assert (before.attempt, before.lost_steps, before.kept_seconds) == (1, 0, 0.0)
    write_log(tmp_path, (10, 3.0), (20, 5.0), (24, 7.0))
    begin_attempt(tmp_path, pod="b", node="")
    before = record_resumption(tmp_path, tmp_path, 20)
    assert (before.attempt, before.lost_steps, before.kept_seconds) == (2, 4, 8.0)
    assert before.started == read_attempts(tmp_path)[0].started
    write_log(tmp_path, (24, 1.0), (26, 1.0))
    begin_attempt(tmp_path, pod="c", node="")
    before = record_resumption(tmp_path, tmp_path, 24)
    assert (before.attempt, before.lost_steps) == (3, 4 + 2)
    assert before.kept_seconds == 9.0  # the repeated step counts once, as it was the last time
    assert [(a.first_step, a.lost_steps) for a in read_attempts(tmp_path)] == [(0, 0), (20, 4), (24, 2)]


def test_a_later_stage_goes_on_after_the_steps_of_the_earlier_ones(tmp_path: Path) -> None:
    begin_attempt(tmp_path, pod="a", node="")
    stage = tmp_path / "stage-1-modules"
    stage.mkdir()
    record_resumption(tmp_path, stage, 0)
    write_log(stage, (10, 2.0))
    write_log(tmp_path, (6, 1.0))
    begin_attempt(tmp_path, pod="b", node="")
    before = record_resumption(tmp_path, tmp_path, 4)
    assert (before.lost_steps, before.kept_seconds) == (2, 2.0)
    assert read_attempts(tmp_path)[-1].first_step == 14


def test_a_training_outside_of_an_attempt_writes_no_ledger(tmp_path: Path) -> None:
    before = record_resumption(tmp_path, tmp_path, 0)
    assert (before.attempt, before.lost_steps, before.kept_seconds) == (1, 0, 0.0)
    assert not (tmp_path / LEDGER).exists()


def test_attempts_in_a_row_without_progress_stop_the_run_and_name_the_last_reason() -> None:
    attempts = [ended(1, INFRASTRUCTURE, 40, 20)]
    attempts += [ended(number, INFRASTRUCTURE, 40, 20) for number in range(2, 2 + MAX_FRUITLESS)]
    assert why_exhausted(attempts[:-1], 20) is None
    reason = why_exhausted(attempts, 20)
    assert reason == "5 attempts in a row made no progress beyond step 40; the last one ended: why"


@pytest.mark.parametrize(("last_step", "checkpoint_step"), [(41, 20), (40, 40)])
def test_a_later_step_or_a_newer_checkpoint_is_progress(last_step: int, checkpoint_step: int) -> None:
    attempts = [ended(number, None, 40, 20) for number in range(1, 9)]
    assert fruitless_attempts(attempts) == 7
    assert fruitless_attempts([*attempts, ended(9, None, last_step, checkpoint_step)]) == 0


def test_evictions_count_against_the_number_of_attempts_even_with_progress() -> None:
    attempts = [ended(number, STOPPED, number, number) for number in range(1, 21)]
    assert why_exhausted(attempts[:19], 20) is None
    assert "20 attempts, evictions included" in (why_exhausted(attempts, 20) or "")


def test_a_run_that_a_person_starts_again_after_a_final_exit_code_counts_anew() -> None:
    attempts = [ended(number, INFRASTRUCTURE) for number in range(1, 6)]
    assert why_exhausted(attempts, 20)
    assert why_exhausted([*attempts, ended(6, 3)], 20) is None
    assert why_exhausted([*attempts, ended(6, 3), *attempts], 20)


def test_the_delay_grows_only_without_progress_and_stays_below_a_minute() -> None:
    assert [delay_seconds(count) for count in (0, 1, 2, 3)] == [0.0, 2.0, 4.0, 8.0]
    assert delay_seconds(50) == MAX_DELAY_SECONDS


@given(
    st.lists(
        st.tuples(st.sampled_from([INFRASTRUCTURE, STOPPED, None]), st.integers(0, 100), st.integers(0, 100)),
        min_size=21,
        max_size=60,
    )
)
def test_no_sequence_of_retried_attempts_goes_on_for_ever(ends: list[tuple[int | None, int, int]]) -> None:
    assert why_exhausted([ended(number, *end) for number, end in enumerate(ends, 1)], 20)
