"""What a person sees of a running training, and how a person stops it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, Final

import torch
from torch import distributed
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from promethios.checkpoint.attempts import record_resumption
from promethios.training.metrics import TrainingMetrics

METRICS_FILE: Final = "metrics.jsonl"


class ProgressLog(TrainerCallback):
    """A bar on a terminal, plain lines otherwise; the lines also in a log file, the numbers as JSON lines.

    Writes `training_<start time>.log` and appends to `metrics.jsonl` in `log_dir`.
    """

    def __init__(self, log_dir: Path, tokens_per_step: float) -> None:
        self.log_dir = log_dir
        self.tokens_per_step = tokens_per_step
        self.bar: Any = None
        self.started = 0.0
        self.first_step = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Open the log file and the bar."""
        if not state.is_world_process_zero:
            return
        self.log_dir.mkdir(parents=True, exist_ok=True)
        _drop_half_a_line(self.log_dir / METRICS_FILE)
        self.file = self.log_dir / time.strftime("training_%Y%m%d-%H%M%S.log")
        self.started, self.first_step = time.monotonic(), state.global_step
        if sys.stderr.isatty():
            self.bar = tqdm(
                total=state.max_steps, initial=state.global_step, desc="train", unit="step", dynamic_ncols=True
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Move the bar."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **_: Any
    ) -> None:
        """Write one line for each log entry."""
        if not state.is_world_process_zero or "loss" not in logs:
            return
        elapsed = time.monotonic() - self.started
        rate = (state.global_step - self.first_step) / max(elapsed, 1e-9)
        remaining = (state.max_steps - state.global_step) / max(rate, 1e-9)
        line = (
            f"step {state.global_step}/{state.max_steps}  loss {logs['loss']:.4f}"
            f"  language {logs['loss_language']:.4f}  decision {logs['loss_decision']:.4f}"
            f"  lr {logs['learning_rate']:.2e}  {rate * self.tokens_per_step:,.0f} tokens/s  ETA {remaining:.0f} s"
        )
        if self.bar is not None:
            self.bar.set_postfix(loss=f"{logs['loss']:.3f}", decision=f"{logs['loss_decision']:.3f}")
        else:
            sys.stderr.write(line + "\n")
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
        with (self.log_dir / METRICS_FILE).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": state.global_step, **logs}) + "\n")

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()


def _drop_half_a_line(path: Path) -> None:
    """Cut what a kill or a full disk left of a last line, or the next line would join it."""
    if path.exists():
        written = path.read_bytes()
        whole = written[: written.rfind(b"\n") + 1]
        if whole != written:
            path.write_bytes(whole)


class MetricsCallback(TrainerCallback):
    """Feed the metrics, on the first rank; tell the ledger where the stage goes on; time the steps of each log entry.

    It stands before ProgressLog, which then writes `step_seconds` into metrics.jsonl, too: the time since the last
    entry, saves left out. tokens_per_step, flops_per_step: of all ranks together. peak: FLOPs a second of all
    accelerators together, or None when it is not known.
    """

    def __init__(
        self,
        metrics: TrainingMetrics,
        output_dir: Path,
        stage_folder: Path,
        *,
        tokens_per_step: float,
        flops_per_step: float,
        peak: float | None,
    ) -> None:
        self.metrics = metrics
        self.output_dir = output_dir
        self.stage_folder = stage_folder
        self.tokens_per_step = tokens_per_step
        self.flops_per_step = flops_per_step
        self.peak = peak
        self.clock = 0.0
        self.steps_since_log = 0
        self.seconds_since_log = 0.0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the clock; say where the stage goes on."""
        self.clock = time.monotonic()
        if state.is_world_process_zero:
            before = record_resumption(self.output_dir, self.stage_folder, state.global_step)
            self.metrics.on_begin(
                before, step=state.global_step, steps=state.max_steps, checkpoint_interval=int(state.save_steps)
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Count a step."""
        seconds = self._lap()
        self.steps_since_log += 1
        self.seconds_since_log += seconds
        if state.is_world_process_zero:
            self.metrics.on_step(
                state.global_step, epoch=state.epoch or 0.0, seconds=seconds, tokens=self.tokens_per_step
            )

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Leave the time of a save out of the next step."""
        self._lap()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **_: Any
    ) -> None:
        """Report the losses and the speed since the last entry."""
        if "loss" not in logs:
            return
        logs["step_seconds"] = round(self.seconds_since_log, 4)
        if state.is_world_process_zero:
            rate = self.steps_since_log / max(self.seconds_since_log, 1e-9)
            losses = {name.removeprefix("loss_"): value for name, value in logs.items() if name.startswith("loss_")}
            self.metrics.on_log(
                {"total": logs["loss"], **losses},
                tokens_per_second=rate * self.tokens_per_step,
                mfu=rate * self.flops_per_step / self.peak if self.peak else None,
            )
        self.steps_since_log, self.seconds_since_log = 0, 0.0

    def _lap(self) -> float:
        before, self.clock = self.clock, time.monotonic()
        return self.clock - before


class StopOnSignal(TrainerCallback):
    """On SIGINT or SIGTERM finish the step, save a checkpoint and stop; a second signal ends at once.

    The ranks agree on the step through one small all-reduce, since a signal reaches them at different times.
    """

    def __init__(self) -> None:
        self.received: int | None = None

    def install(self) -> None:
        """Install the signal handlers in the main thread.

        Processes that load data get a group of their own from now on: torchrun and a terminal signal the whole group of
        a rank, and a rank whose data loader was killed cannot finish its step.
        """
        os.register_at_fork(after_in_child=os.setpgrp)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        self.received = number

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Ask for a save and a stop when any rank was signalled."""
        flag = torch.tensor([self.received or 0], device=args.device)
        if distributed.is_initialized() and distributed.get_world_size() > 1:
            distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
        if int(flag.item()):
            self.received = int(flag.item())
            control.should_save = control.should_training_stop = True
