"""A run that goes on with another number of ranks than it began with, through DeepSpeed's universal checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.test_resume import STEPS, kill_9, losses, start_training, wait_for_step

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(("before", "after", "zero_stage"), [(2, 1, 0), (2, 1, 1), (1, 2, 3)])
def test_a_run_killed_on_one_number_of_ranks_goes_on_with_another_and_has_the_same_loss_curve(
    small_dataset: Path, tmp_path: Path, before: int, after: int, zero_stage: int
) -> None:
    whole = run_to_the_end(small_dataset, tmp_path / "whole", ranks=before, zero_stage=zero_stage)
    process = start_training(small_dataset, tmp_path / "run", ranks=before, zero_stage=zero_stage)
    wait_for_step(process, tmp_path / "run", 6)
    kill_9(process)
    process.communicate()
    found = run_to_the_end(small_dataset, tmp_path / "run", ranks=after, zero_stage=zero_stage)
    assert found.keys() == whole.keys() and max(found) == STEPS
    for step, loss in whole.items():
        # Tolerance: bf16 gradients are summed over another number of ranks.
        assert found[step] == pytest.approx(loss, abs=1e-2), f"step {step}"


def test_ranks_that_cannot_have_as_many_sequences_a_step_are_refused(small_dataset: Path, tmp_path: Path) -> None:
    options = ("--set", "training.gradient_accumulation_steps=1", "--set", "training.max_steps=4")
    process = start_training(small_dataset, tmp_path, *options, ranks=1)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    (tmp_path / "training_run.json").unlink()
    process = start_training(small_dataset, tmp_path, *options, ranks=2)
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "is of 1 ranks with 1 sequences a step; 2 ranks with training.batch_size 1 cannot have as many" in output


def run_to_the_end(data_dir: Path, output_dir: Path, *, ranks: int, zero_stage: int) -> dict[int, float]:
    process = start_training(data_dir, output_dir, ranks=ranks, zero_stage=zero_stage)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return losses(output_dir)
