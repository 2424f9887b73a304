"""What a person sees of a running training, and how a person stops it."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import distributed
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


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
        with (self.log_dir / "metrics.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": state.global_step, **logs}) + "\n")

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()


class StopOnSignal(TrainerCallback):
    """On SIGINT or SIGTERM finish the step, save a checkpoint and stop; a second signal ends at once.

    The ranks agree on the step through one small all-reduce, since a signal reaches them at different times.
    """

    def __init__(self) -> None:
        self.received: int | None = None

    def install(self) -> None:
        """Install the signal handlers in the main thread."""
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
