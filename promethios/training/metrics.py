"""Prometheus metrics of a running training, served by its first rank.

README.md explains each; a test keeps that table and this module equal. A gauge is absent until its value is known.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, start_http_server

from promethios.checkpoint.attempts import Resumption
from promethios.configs.run_config import ModelSection
from promethios.errors import ConfigError
from promethios.planning.nodes import ACCELERATORS
from promethios.planning.parameters import count_trained
from promethios.planning.speed import flops_per_position

STEP_SECONDS: Final = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 45, 60, 90, 120, 300)
SAVE_SECONDS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200)
SLOWER_BOARDS: Final = ("PCIE", "NVL")
"""Of H100, H200 and V100: other clocks than the SXM boards whose peak is known. The A100's is the same on both."""


class TrainingMetrics:
    """The metrics of one training; also told of its checkpoints, from the thread that writes them."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        self.info = Gauge(
            "promethios_training_info",
            "What is trained; always 1.",
            ["config", "dataset_sha256", "version", "world_size", "accelerator"],
            registry=registry,
        )
        self.loss = Gauge(
            "promethios_training_loss",
            "Mean loss since the last log line; unweighted parts.",
            ["part"],
            registry=registry,
        )
        self.step = Gauge("promethios_training_step", "Optimizer steps of the stage.", registry=None)
        self.steps = Gauge("promethios_training_steps", "Optimizer steps that the stage will have.", registry=None)
        self.epoch = Gauge("promethios_training_epoch", "Epochs of the stage, with fractions.", registry=None)
        self.tokens = Counter(
            "promethios_training_tokens_total", "Tokens of this attempt, without padding.", registry=registry
        )
        self.tokens_per_second = Gauge(
            "promethios_training_tokens_per_second", "Since the last log line, without saves.", registry=None
        )
        self.mfu = Gauge(
            "promethios_training_mfu_ratio", "Model FLOPs as a share of the accelerators' peak.", registry=None
        )
        self.step_seconds = Histogram(
            "promethios_training_step_seconds", "Of an optimizer step, without saves.", buckets=STEP_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.last_step_timestamp = Gauge(
            "promethios_training_last_step_timestamp_seconds", "When the last step ended.", registry=None
        )
        self.blocking_seconds = Histogram(
            "promethios_training_checkpoint_blocking_seconds", "How long a save held the training up.",
            buckets=SAVE_SECONDS, registry=registry,
        )  # fmt: skip
        self.background_seconds = Histogram(
            "promethios_training_checkpoint_background_seconds", "How long a save went on beside the training.",
            buckets=SAVE_SECONDS, registry=registry,
        )  # fmt: skip
        self.checkpoint_bytes = Gauge(
            "promethios_training_checkpoint_bytes", "Size of the last checkpoint.", registry=None
        )
        self.checkpoint_failures = Counter(
            "promethios_training_checkpoint_failures_total", "Writes that failed.", ["place"], registry=registry
        )
        self.last_checkpoint_step = Gauge(
            "promethios_training_last_checkpoint_step", "Step of the newest complete checkpoint.", registry=None
        )
        self.last_checkpoint_timestamp = Gauge(
            "promethios_training_last_checkpoint_timestamp_seconds", "When this attempt completed one.", registry=None
        )
        self.checkpoint_interval = Gauge(
            "promethios_training_checkpoint_interval_steps", "Steps between two saves.", registry=None
        )
        self.goodput = Gauge(
            "promethios_training_goodput_ratio",
            "Time in steps not lost, of all since the first attempt.",
            registry=None,
        )
        self.lost_steps = Counter(
            "promethios_training_lost_steps_total", "Steps done again, in all attempts.", registry=registry
        )
        self.attempt = Gauge("promethios_training_attempt", "Number of this attempt.", registry=None)
        self.retries = Counter("promethios_training_retries_total", "Attempts before this one.", registry=registry)
        self._shown: set[Gauge] = set()
        self._begun: Resumption | None = None
        self._kept_seconds = 0.0

    def serve(self, port: str) -> None:
        """Serve the metrics on every address of this machine. A port in use is said, and training goes on without.

        port: as the environment gives it. Raises ConfigError for what is no port.
        """
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise ConfigError(f"PROMETHIOS_METRICS_PORT={port}: give a port, 1 to 65535, or leave it unset")
        try:
            start_http_server(int(port), registry=self.registry)
        except OSError as error:
            sys.stderr.write(f"no metrics on port {port}: {error.strerror}; training goes on without\n")

    def on_begin(self, before: Resumption, *, step: int, steps: int, checkpoint_interval: int) -> None:
        """A stage begins or goes on at `step` of `steps`."""
        if self._begun is None:
            self.retries.inc(before.attempt - 1)
            self.lost_steps.inc(before.lost_steps)
        self._begun, self._kept_seconds = before, before.kept_seconds
        self._show(self.attempt, before.attempt)
        self._show(self.step, step)
        self._show(self.steps, steps)
        self._show(self.checkpoint_interval, checkpoint_interval)
        self._show(self.last_checkpoint_step, step)
        self._show(self.goodput, 0.0)
        self.goodput.set_function(lambda: self._kept_seconds / max(time.time() - before.started, 1e-9))

    def on_step(self, step: int, *, epoch: float, seconds: float, tokens: float) -> None:
        """An optimizer step ended."""
        self._kept_seconds += seconds
        self._show(self.step, step)
        self._show(self.epoch, epoch)
        self._show(self.last_step_timestamp, time.time())
        self.step_seconds.observe(seconds)
        self.tokens.inc(tokens)

    def on_log(self, losses: Mapping[str, float], *, tokens_per_second: float, mfu: float | None) -> None:
        """A log line was written. losses: by part, `total` among them."""
        for part, loss in losses.items():
            self.loss.labels(part).set(loss)
        self._show(self.tokens_per_second, tokens_per_second)
        if mfu is not None:
            self._show(self.mfu, mfu)

    def on_saved(self, step: int, blocking_seconds: float, background_seconds: float, num_bytes: int) -> None:
        """A checkpoint is complete."""
        self.blocking_seconds.observe(blocking_seconds)
        self.background_seconds.observe(background_seconds)
        self._show(self.checkpoint_bytes, num_bytes)
        self._show(self.last_checkpoint_step, step)
        self._show(self.last_checkpoint_timestamp, time.time())

    def on_failed(self, place: str, error: Exception) -> None:
        """A checkpoint could not be written to `place`, volume or store."""
        self.checkpoint_failures.labels(place).inc()

    def _show(self, gauge: Gauge, value: float) -> None:
        if gauge not in self._shown:
            self._shown.add(gauge)
            self.registry.register(gauge)
        gauge.set(value)


def peak_flops(device_name: str) -> float | None:
    """Return an accelerator's dense 16-bit peak by the name that CUDA reports, for example "NVIDIA H100 80GB HBM3".

    None when it is not known.
    """
    name = device_name.upper()
    for accelerator in ACCELERATORS.values():
        board = accelerator.name.partition("-")[0].upper()
        slower = board != "A100" and any(mark in name for mark in SLOWER_BOARDS)
        if accelerator.is_gpu and board in name and not slower:
            return accelerator.peak_flops
    return None


def flops_per_sequence(
    model: ModelSection, train: str, lora_rank: int, *, sequence_length: int, predicted_share: float
) -> float:
    """Return the model FLOPs of training on one packed sequence, padding included, as `promethios plan` counts them.

    train, lora_rank: of the stage. predicted_share: of the positions, those whose logits are computed. What a frozen
    copy of a backbone computes is left out.
    """
    in_memory, trained = count_trained(model, train, lora_rank)
    return sequence_length * flops_per_position(model, sequence_length, predicted_share, trained / in_memory)
