"""The clock of the steps and what it tells metrics, log and ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from promethios.checkpoint.attempts import begin_attempt, read_attempts
from promethios.training.metrics import TrainingMetrics
from promethios.training.progress import MetricsCallback, ProgressLog

TOKENS_PER_STEP, FLOPS_PER_STEP, PEAK = 500.0, 2e12, 8e12


class Clock:
    """Time that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Training:
    """Calls the callbacks as the Trainer does."""

    def __init__(self, output_dir: Path, *, step: int = 0, is_first_rank: bool = True) -> None:
        self.metrics = TrainingMetrics()
        timer = MetricsCallback(
            self.metrics,
            output_dir,
            output_dir,
            tokens_per_step=TOKENS_PER_STEP,
            flops_per_step=FLOPS_PER_STEP,
            peak=PEAK,
        )
        self.callbacks = [timer, ProgressLog(output_dir / "logs", TOKENS_PER_STEP)]
        self.state = TrainerState(
            global_step=step, max_steps=8, save_steps=4, epoch=0.0, is_world_process_zero=is_first_rank
        )
        self.arguments = TrainingArguments(output_dir=str(output_dir), use_cpu=True, report_to=[])

    def tell(self, event: str, **values: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self.arguments, self.state, TrainerControl(), **values)

    def step(self) -> None:
        self.state.global_step += 1
        self.tell("on_step_end")

    def log(self) -> None:
        logs = {"loss": 2.0, "loss_language": 1.5, "loss_decision": 0.5, "learning_rate": 1e-3}
        self.tell("on_log", logs=logs)

    def value(self, name: str, labels: dict[str, str] | None = None) -> float | None:
        return self.metrics.registry.get_sample_value(f"promethios_training_{name}", labels or {})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr("promethios.training.progress.time.monotonic", stopped)
    return stopped


def test_the_time_of_a_save_belongs_to_no_step(clock: Clock, tmp_path: Path) -> None:
    training = Training(tmp_path)
    training.tell("on_train_begin")
    clock.now += 2
    training.step()
    clock.now += 30
    training.tell("on_save")
    clock.now += 4  # also waits for data
    training.step()
    training.log()
    assert training.value("step_seconds_sum") == 6
    assert training.value("tokens_per_second") == pytest.approx(2 * TOKENS_PER_STEP / 6)
    assert training.value("mfu_ratio") == pytest.approx(2 * FLOPS_PER_STEP / 6 / PEAK)
    (entry,) = map(json.loads, (tmp_path / "logs" / "metrics.jsonl").read_text().splitlines())
    assert entry["step"] == 2 and entry["step_seconds"] == 6


def test_each_log_entry_has_the_time_since_the_one_before(clock: Clock, tmp_path: Path) -> None:
    training = Training(tmp_path)
    training.tell("on_train_begin")
    for seconds in (1, 2, 3, 4):
        clock.now += seconds
        training.step()
        if training.state.global_step % 2 == 0:
            training.log()
    entries = [json.loads(line) for line in (tmp_path / "logs" / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step_seconds"] for entry in entries] == [3, 7]
    assert training.value("loss", {"part": "total"}) == 2.0
    assert training.value("loss", {"part": "decision"}) == 0.5


def test_a_stage_that_goes_on_tells_the_ledger_from_where(clock: Clock, tmp_path: Path) -> None:
    begin_attempt(tmp_path, pod="a", node="")
    training = Training(tmp_path)
    training.tell("on_train_begin")
    for _ in range(6):
        clock.now += 1
        training.step()
        training.log()
    begin_attempt(tmp_path, pod="a", node="")
    training = Training(tmp_path, step=4)
    training.tell("on_train_begin")
    assert [(attempt.first_step, attempt.lost_steps) for attempt in read_attempts(tmp_path)] == [(0, 0), (4, 2)]
    assert training.value("lost_steps_total") == 2
    assert training.value("attempt") == 2
    assert training.value("checkpoint_interval_steps") == 4


def test_only_the_first_rank_writes(clock: Clock, tmp_path: Path) -> None:
    begin_attempt(tmp_path, pod="a", node="")
    training = Training(tmp_path, is_first_rank=False)
    training.tell("on_train_begin")
    clock.now += 1
    training.step()
    training.log()
    assert read_attempts(tmp_path)[0].first_step is None
    assert training.value("step") is None
    assert not (tmp_path / "logs").exists()


def test_a_progress_line_can_be_read_by_what_follows_a_run(clock: Clock, tmp_path: Path) -> None:
    training = Training(tmp_path)
    training.tell("on_train_begin")
    clock.now += 2
    training.step()
    training.log()
    (log,) = (tmp_path / "logs").glob("training_*.log")
    assert log.read_text() == (
        "step 1/8  loss 2.0000  language 1.5000  decision 0.5000  lr 1.00e-03  250 tokens/s  ETA 14 s\n"
    )


def test_half_a_line_that_a_kill_left_is_cut_before_training_goes_on(tmp_path: Path) -> None:
    written = tmp_path / "logs" / "metrics.jsonl"
    written.parent.mkdir()
    written.write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "lo', encoding="utf-8")
    training = Training(tmp_path, step=1)
    training.tell("on_train_begin")
    training.step()
    training.log()
    assert [json.loads(line)["step"] for line in written.read_text().splitlines()] == [1, 2]
