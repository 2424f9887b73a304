from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from promethios.checkpoint.manifest import write_manifest
from promethios.configs.run_config import RunConfig, load_run_config
from promethios.errors import CheckpointError
from promethios.model.folder import TRAINING_RUN
from promethios.training.stages import BACKBONE, StageRun, resume_point, stage_runs

STAGES = "[{train: modules, learning_rate: 2e-4, epochs: 1}, {train: lora, lora_rank: 8}]"


@pytest.fixture
def config() -> RunConfig:
    return load_run_config("qwen3_8b", {"training.stages": STAGES, "training.learning_rate": "1e-4"})


@pytest.fixture
def facts(config: RunConfig) -> dict[str, Any]:
    return {"dataset_sha256": "d", "config": config.to_mapping()}


def said(runs: list[StageRun], facts: dict[str, Any], choice: str = "latest") -> tuple[int, Path | None]:
    return resume_point(choice, runs, facts, lambda text: None)


def checkpoint(run: StageRun, step: int, facts: dict[str, Any]) -> Path:
    folder = run.folder / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "weights").write_text("w")
    write_manifest(folder, {"step": step, "stage": run.name, **facts})
    return folder


def finish(run: StageRun, facts: dict[str, Any]) -> None:
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / TRAINING_RUN).write_text(json.dumps(facts))


def test_each_stage_starts_where_the_one_before_ended_and_the_last_writes_the_model(
    config: RunConfig, tmp_path: Path
) -> None:
    first, last = stage_runs(config, tmp_path)
    assert (first.name, first.start, first.folder) == (
        "stage-1-modules",
        tmp_path / BACKBONE,
        tmp_path / "stage-1-modules",
    )
    assert (last.name, last.start, last.folder) == ("stage-2-lora", tmp_path / "stage-1-modules", tmp_path)
    assert (first.training.learning_rate, first.training.epochs) == (2e-4, 1)
    assert (last.training.learning_rate, last.lora_rank) == (1e-4, 8)


def test_from_scratch_there_is_one_stage_that_starts_from_nothing_and_preserves_nothing(tmp_path: Path) -> None:
    config = load_run_config("nano")
    (only,) = stage_runs(config, tmp_path)
    assert (only.train, only.start, only.backbone, only.folder) == ("full", None, None, tmp_path)
    assert only.training == config.training


def test_a_backbone_is_preserved_unless_the_weight_is_zero(tmp_path: Path) -> None:
    for text, weight in (("null", 0.1), ("{weight: 0}", 0.0)):
        config = load_run_config("qwen3_8b", {"training.preservation": text})
        preservation = stage_runs(config, tmp_path)[0].training.preservation
        assert preservation is not None and preservation.weight == weight


def test_a_new_run_begins_with_the_first_stage(config: RunConfig, facts: dict[str, Any], tmp_path: Path) -> None:
    assert said(stage_runs(config, tmp_path), facts) == (0, None)


def test_resuming_goes_to_the_newest_checkpoint_of_the_stage_that_is_not_finished(
    config: RunConfig, facts: dict[str, Any], tmp_path: Path
) -> None:
    first, last = runs = stage_runs(config, tmp_path)
    newest = [checkpoint(first, step, facts) for step in (1, 2)][-1]
    assert said(runs, facts) == (0, newest)
    finish(first, facts)
    assert said(runs, facts) == (1, None)
    newest = checkpoint(last, 1, facts)
    assert said(runs, facts) == (1, newest)


def test_beginning_anew_is_refused_where_checkpoints_of_an_earlier_run_would_be_resumed_next(
    config: RunConfig, facts: dict[str, Any], tmp_path: Path
) -> None:
    runs = stage_runs(config, tmp_path)
    assert said(runs, facts, "none") == (0, None)
    checkpoint(runs[-1], 1, facts)
    with pytest.raises(CheckpointError, match=r"none: .*checkpoint-1 is of an earlier run"):
        said(runs, facts, "none")


def test_a_checkpoint_that_is_named_says_which_stage_it_is_of(
    config: RunConfig, facts: dict[str, Any], tmp_path: Path
) -> None:
    runs = stage_runs(config, tmp_path)
    folder = checkpoint(runs[1], 1, facts)
    assert said(runs, facts, str(folder)) == (1, folder)


def test_going_back_is_refused_where_a_newer_checkpoint_would_be_resumed_next(
    config: RunConfig, facts: dict[str, Any], tmp_path: Path
) -> None:
    runs = stage_runs(config, tmp_path)
    older = checkpoint(runs[1], 100, facts)
    checkpoint(runs[1], 200, facts)
    with pytest.raises(CheckpointError, match=r"checkpoint-200 in .* is newer"):
        said(runs, facts, str(older))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset_sha256": "other"}, "trained on other data"),
        ({"feedback_sha256": "other"}, "trained on other data"),
        ({"config": {"model": {}}}, "another model section"),
        (
            {"stage": "stage-1-full"},
            r"is of stage 'stage-1-full', this configuration has stage-1-modules, stage-2-lora",
        ),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    config: RunConfig, facts: dict[str, Any], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    runs = stage_runs(config, tmp_path)
    folder = checkpoint(runs[0], 1, facts | change)
    with pytest.raises(CheckpointError, match=message):
        said(runs, facts, str(folder))


def test_a_finished_stage_of_another_run_is_refused(config: RunConfig, facts: dict[str, Any], tmp_path: Path) -> None:
    runs = stage_runs(config, tmp_path)
    finish(runs[0], facts | {"dataset_sha256": "other"})
    with pytest.raises(CheckpointError, match="trained on other data"):
        said(runs, facts)


def test_a_checkpoint_of_an_unstaged_run_does_not_become_the_last_stages(
    config: RunConfig, facts: dict[str, Any], tmp_path: Path
) -> None:
    runs = stage_runs(config, tmp_path)
    finish(runs[0], facts)
    checkpoint(runs[1], 1, facts | {"stage": "stage-1-modules"})
    with pytest.raises(CheckpointError, match="is not of stage-2-lora"):
        said(runs, facts)
