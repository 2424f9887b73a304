"""The metrics of a training, as Prometheus would scrape them."""

from __future__ import annotations

import socket
import time
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from promethios.checkpoint.attempts import Resumption
from promethios.configs.run_config import load_run_config
from promethios.errors import ConfigError
from promethios.training.metrics import TrainingMetrics, flops_per_sequence, peak_flops

FRESH = Resumption(attempt=1, started=0.0, lost_steps=0, kept_seconds=0.0)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def samples(metrics: TrainingMetrics) -> dict[str, float]:
    """Return what is exposed, labels in the name, buckets left out."""
    return {
        sample.name + "".join(f",{value}" for value in sample.labels.values()): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


def test_what_is_served_can_be_scraped(free_port: int) -> None:
    metrics = TrainingMetrics()
    metrics.serve(str(free_port))
    metrics.on_begin(FRESH, step=0, steps=100, checkpoint_interval=20)
    metrics.on_log({"total": 2.5, "decision": 1.25}, tokens_per_second=1000.0, mfu=0.4)
    with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/metrics", timeout=10) as response:
        families = {family.name: family for family in text_string_to_metric_families(response.read().decode())}
    losses = {sample.labels["part"]: sample.value for sample in families["promethios_training_loss"].samples}
    assert losses == {"total": 2.5, "decision": 1.25}
    assert families["promethios_training_steps"].samples[0].value == 100
    assert families["promethios_training_mfu_ratio"].samples[0].value == 0.4


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("", 0))
        holder.listen()
        yield int(holder.getsockname()[1])


def test_a_port_in_use_is_said_and_does_no_harm(taken_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    TrainingMetrics().serve(str(taken_port))
    assert (
        capsys.readouterr().err
        == f"no metrics on port {taken_port}: Address already in use; training goes on without\n"
    )


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1", "9464.0"])
def test_what_is_no_port_is_refused(port: str) -> None:
    with pytest.raises(ConfigError, match=f"PROMETHIOS_METRICS_PORT={port}: give a port"):
        TrainingMetrics().serve(port)


def test_a_gauge_is_absent_until_its_value_is_known() -> None:
    metrics = TrainingMetrics()
    assert not {name for name in samples(metrics) if "timestamp" in name or name.endswith(("_ratio", "_step", "loss"))}
    metrics.on_begin(FRESH, step=0, steps=10, checkpoint_interval=5)
    metrics.on_log({"total": 1.0}, tokens_per_second=1.0, mfu=None)
    assert "promethios_training_mfu_ratio" not in samples(metrics)
    assert "promethios_training_last_checkpoint_timestamp_seconds" not in samples(metrics)


def test_steps_tokens_and_seconds_add_up() -> None:
    metrics = TrainingMetrics()
    metrics.on_begin(FRESH, step=0, steps=10, checkpoint_interval=5)
    for step in (1, 2, 3):
        metrics.on_step(step, epoch=step / 10, seconds=0.25, tokens=512.0)
    found = samples(metrics)
    assert found["promethios_training_step"] == 3
    assert found["promethios_training_epoch"] == 0.3
    assert found["promethios_training_tokens_total"] == 1536
    assert found["promethios_training_step_seconds_count"] == 3
    assert found["promethios_training_step_seconds_sum"] == 0.75
    assert time.time() - found["promethios_training_last_step_timestamp_seconds"] < 60


def test_goodput_is_the_time_in_steps_that_were_kept_of_all_since_the_first_attempt() -> None:
    metrics = TrainingMetrics()
    started = time.time() - 1000
    metrics.on_begin(
        Resumption(attempt=3, started=started, lost_steps=7, kept_seconds=400.0),
        step=40,
        steps=90,
        checkpoint_interval=9,
    )
    metrics.on_step(41, epoch=1.0, seconds=100.0, tokens=1.0)
    found = samples(metrics)
    assert found["promethios_training_goodput_ratio"] == pytest.approx(0.5, abs=0.01)
    assert found["promethios_training_attempt"] == 3
    assert found["promethios_training_retries_total"] == 2
    assert found["promethios_training_lost_steps_total"] == 7
    assert found["promethios_training_last_checkpoint_step"] == 40


def test_a_second_stage_counts_retries_and_lost_steps_no_second_time() -> None:
    metrics = TrainingMetrics()
    for _ in range(2):
        metrics.on_begin(FRESH._replace(attempt=3, lost_steps=7), step=0, steps=10, checkpoint_interval=5)
    found = samples(metrics)
    assert found["promethios_training_retries_total"] == 2
    assert found["promethios_training_lost_steps_total"] == 7


def test_saves_and_failures_are_told() -> None:
    metrics = TrainingMetrics()
    metrics.on_begin(FRESH, step=0, steps=100, checkpoint_interval=20)
    metrics.on_saved(20, 0.5, 4.0, 1_000_000)
    metrics.on_failed("store", OSError("away"))
    found = samples(metrics)
    assert found["promethios_training_checkpoint_blocking_seconds_sum"] == 0.5
    assert found["promethios_training_checkpoint_background_seconds_sum"] == 4.0
    assert found["promethios_training_checkpoint_bytes"] == 1_000_000
    assert found["promethios_training_last_checkpoint_step"] == 20
    assert found["promethios_training_checkpoint_failures_total,store"] == 1
    assert time.time() - found["promethios_training_last_checkpoint_timestamp_seconds"] < 60


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("NVIDIA A100-PCIE-40GB", 312e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H200 NVL", None),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_the_peak_is_known_by_the_name_that_cuda_reports(device: str, peak: float | None) -> None:
    assert peak_flops(device) == peak


def test_flops_are_about_six_a_parameter_and_position_where_all_of_them_train() -> None:
    model = load_run_config("8b").model
    flops = flops_per_sequence(model, "full", 64, sequence_length=2048, predicted_share=1.0)
    assert flops / (6 * 8.07e9 * 2048) == pytest.approx(1.0, abs=0.1)
    frozen = flops_per_sequence(model, "modules", 64, sequence_length=2048, predicted_share=1.0)
    assert frozen / flops == pytest.approx(2 / 3, abs=0.05)
