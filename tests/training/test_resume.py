"""A real DeepSpeed ZeRO-3 run on 2 gloo ranks, killed and resumed, with the same number of ranks or another."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.tiny_model import TINY_MODEL
from tests.training.ranks import Training

pytestmark = pytest.mark.integration

STEPS = 10
TINY = TINY_MODEL | {
    "training.zero_stage": 3,
    "training.response_share": 1.0,  # each micro batch of so small a run has a response
    "training.batch_size": 1,
    "training.gradient_accumulation_steps": 2,
    "training.max_steps": STEPS,
    "training.save_steps": 4,
    "training.logging_steps": 1,
}


MUON, ADAMW = "1e-2", "null"


def start_training(
    data_dir: Path, output_dir: Path, *options: str, ranks: int, zero_stage: int = 3, muon: str = MUON
) -> Training:
    settings = TINY | {"training.zero_stage": zero_stage, "training.muon_learning_rate": muon}
    overrides = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    words = ["--config", "nano", "--data_dir", data_dir, "--output_dir", output_dir, *overrides, *options]
    return Training(words, output_dir.with_suffix(".log"), ranks=ranks)


def losses(output_dir: Path) -> dict[int, float]:
    """Loss by step; the last entry of a step counts, since a resumed run repeats the steps after its checkpoint."""
    path = output_dir / "logs" / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    entries = [json.loads(line) for line in lines if line.endswith("}")]
    return {entry["step"]: entry["loss"] for entry in entries}


def wait_for_step(training: Training, output_dir: Path, step: int) -> None:
    deadline = time.monotonic() + 300
    while step not in losses(output_dir):
        assert training.is_running, training.output
        assert time.monotonic() < deadline, "the run made no progress"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def uninterrupted(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return the folder of a run from beginning to end, by number of ranks, ZeRO stage and optimizer."""

    @cache
    def run(ranks: int, zero_stage: int, muon: str = MUON) -> Path:
        output_dir = tmp_path_factory.mktemp("uninterrupted") / "run"
        training = start_training(small_dataset, output_dir, ranks=ranks, zero_stage=zero_stage, muon=muon)
        assert training.end() == 0, training.output
        return output_dir

    return run


def test_a_model_sharded_from_the_start_is_initialised_like_any_other(
    uninterrupted: Callable[..., Path],
) -> None:
    first = json.loads((uninterrupted(2, 3) / "logs" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["loss_language"] == pytest.approx(math.log(int(TINY["model.vocab_size"])), abs=0.5)
    assert first["loss_decision"] == pytest.approx(math.log(4), abs=1e-2)


def test_a_run_learns_and_leaves_a_whole_model_folder(uninterrupted: Callable[..., Path]) -> None:
    from promethios.model.folder import check_model_folder, weights_sha256

    folder = uninterrupted(2, 3)
    curve = losses(folder)
    assert curve[STEPS] < curve[1]
    config = check_model_folder(folder)
    assert config["value_function"] is False
    assert len(weights_sha256(folder)) == 64
    run = json.loads((folder / "training_run.json").read_text())
    assert run["steps"] == STEPS and run["world_size"] == 2


@pytest.mark.parametrize(
    ("before", "after", "zero_stage", "muon", "tolerance"),
    [
        # bf16 sums in another order after loading; equal runs differ by less than this.
        (2, 2, 3, MUON, 5e-3),
        # bf16 gradients are summed over another number of ranks.
        (2, 1, 0, MUON, 1e-2),
        (2, 1, 1, ADAMW, 1e-2),
        (1, 2, 3, ADAMW, 1e-2),
    ],
)
def test_a_run_killed_in_the_middle_and_resumed_has_the_loss_curve_of_an_uninterrupted_one(
    uninterrupted: Callable[..., Path],
    small_dataset: Path,
    tmp_path: Path,
    before: int,
    after: int,
    zero_stage: int,
    muon: str,
    tolerance: float,
) -> None:
    killed = start_training(small_dataset, tmp_path / "run", ranks=before, zero_stage=zero_stage, muon=muon)
    wait_for_step(killed, tmp_path / "run", 6)
    killed.kill()
    assert max(losses(tmp_path / "run")) < STEPS
    resumed = start_training(small_dataset, tmp_path / "run", ranks=after, zero_stage=zero_stage, muon=muon)
    assert resumed.end() == 0, resumed.output
    assert "resuming from" in resumed.output
    expected, found = losses(uninterrupted(before, zero_stage, muon)), losses(tmp_path / "run")
    assert found.keys() == expected.keys()
    for step, loss in expected.items():
        assert found[step] == pytest.approx(loss, abs=tolerance), f"step {step}"


def test_ranks_that_cannot_have_as_many_sequences_a_step_are_refused(small_dataset: Path, tmp_path: Path) -> None:
    options = ("--set", "training.gradient_accumulation_steps=1", "--set", "training.max_steps=4")
    finished = start_training(small_dataset, tmp_path / "run", *options, ranks=1)
    assert finished.end() == 0, finished.output
    (tmp_path / "run" / "training_run.json").unlink()
    refused = start_training(small_dataset, tmp_path / "run", *options, ranks=2)
    assert refused.end() != 0
    says = "is of 1 ranks with 1 sequences a step; 2 ranks with training.batch_size 1 cannot have as many"
    assert says in refused.output


def test_sharded_states_of_muon_are_refused_on_another_number_of_ranks(small_dataset: Path, tmp_path: Path) -> None:
    options = ("--set", "training.max_steps=4")
    finished = start_training(small_dataset, tmp_path / "run", *options, ranks=1)
    assert finished.end() == 0, finished.output
    (tmp_path / "run" / "training_run.json").unlink()
    refused = start_training(small_dataset, tmp_path / "run", *options, ranks=2)
    assert refused.end() != 0
    assert "another number of ranks: DeepSpeed converts AdamW's states, not Muon's" in refused.output
    assert "resume it on as many as wrote it" in refused.output


def test_a_signal_saves_a_checkpoint_and_ends_with_the_signals_exit_code(small_dataset: Path, tmp_path: Path) -> None:
    training = start_training(small_dataset, tmp_path / "run", ranks=1)
    wait_for_step(training, tmp_path / "run", 2)
    training.send_signal(signal.SIGINT)
    assert training.end() == 128 + signal.SIGINT
    assert "saved and stopped by signal 2" in training.output
    assert [p for p in (tmp_path / "run").glob("checkpoint-*") if (p / "MANIFEST.json").is_file()]
