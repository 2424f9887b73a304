from __future__ import annotations

import pytest

from promethios.configs.run_config import load_run_config
from promethios.planning.storage import GIB, Checkpoint, checkpoint, needed_grace_seconds, volume_bytes

COUNT = 8_000_000_000


@pytest.mark.parametrize(("stage", "gigabytes"), [(0, 128), (1, 128), (2, 128), (3, 112)])
def test_a_checkpoint_of_8_b_parameters_by_zero_stage(stage: int, gigabytes: int) -> None:
    training = load_run_config("8b", {"training.zero_stage": str(stage)}).training
    size = checkpoint(training, saved=COUNT, in_memory=COUNT, trained=COUNT)
    assert size.weights_bytes == 16e9
    assert size.full_bytes == gigabytes * 1e9


def test_of_frozen_weights_no_optimizer_state_is_saved() -> None:
    training = load_run_config("8b").training
    size = checkpoint(training, saved=COUNT, in_memory=COUNT, trained=COUNT // 100)
    assert size.full_bytes == 16e9 + 12 * COUNT // 100


def test_the_volume_holds_what_is_kept_one_more_and_the_result() -> None:
    training = load_run_config("8b", {"training.save_total_limit": "2"}).training
    stage = Checkpoint(weights_bytes=10 * GIB, full_bytes=100 * GIB)
    assert volume_bytes(training, [stage], backbone=0) == 341 * GIB  # (2 x 100 + 10 + 100) x 1.1
    assert volume_bytes(training, [stage, stage], backbone=5 * GIB) == 583 * GIB  # (2 x 210 + 100 + 2 x 5) x 1.1


def test_the_grace_period_holds_a_step_a_save_under_way_the_last_one_twice_and_the_exit() -> None:
    assert needed_grace_seconds(20.5, 112.0) == 372
