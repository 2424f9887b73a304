"""Stages of a training: each is a run of its own, in a folder of its own, from where the one before ended.

    OUTPUT/stage-0-backbone/    the pretrained backbone as a model folder of ours
    OUTPUT/stage-1-modules/     checkpoints, logs and result of the first stage
    OUTPUT/                     of the last stage: the trained model

Without `training.stages` there is one, in OUTPUT. Every manifest names its stage, so resuming finds the right one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from promethios.checkpoint.manifest import checkpoints, read_manifest, step_of, verify
from promethios.checkpoint.resume import newest_verified
from promethios.configs.run_config import Preservation, RunConfig, Stage, TrainingSection
from promethios.errors import CheckpointError
from promethios.model.folder import TRAINING_RUN

if TYPE_CHECKING:
    from promethios.checkpoint.object_store import ObjectStore

BACKBONE: Final = "stage-0-backbone"


@dataclass(frozen=True, kw_only=True)
class StageRun:
    """One stage as it is run.

    train, lora_rank: as in the configuration. training: the section with this stage's learning rate and epochs.
    start: the model folder that it starts from; None starts from scratch. backbone: the folder of the backbone, or
    None. folder: where it writes.
    """

    name: str
    train: str
    lora_rank: int
    training: TrainingSection
    start: Path | None
    backbone: Path | None
    folder: Path


def stage_runs(config: RunConfig, output_dir: Path) -> list[StageRun]:
    """Return the stages in order; the last one writes into `output_dir` itself."""
    stages = config.training.stages or [Stage(train="full")]
    backbone = output_dir / BACKBONE if config.model.from_pretrained else None
    start = backbone
    runs = []
    for number, stage in enumerate(stages, 1):
        name = f"stage-{number}-{stage.train}"
        folder = output_dir if number == len(stages) else output_dir / name
        training = dataclasses.replace(
            config.training,
            learning_rate=stage.learning_rate or config.training.learning_rate,
            epochs=stage.epochs or config.training.epochs,
            preservation=config.training.preservation or (Preservation() if backbone else None),
        )
        runs.append(
            StageRun(
                name=name,
                train=stage.train,
                lora_rank=stage.lora_rank,
                training=training,
                start=start,
                backbone=backbone,
                folder=folder,
            )
        )
        start = folder
    return runs


def checkpoint_store(url: str | None, run: StageRun, runs: Sequence[StageRun]) -> ObjectStore | None:
    """Return where a stage's checkpoints stand in the object store; None without one. Raises ConfigError."""
    if url is None:
        return None
    from promethios.checkpoint.object_store import ObjectStore

    return ObjectStore(url if run is runs[-1] else f"{url.rstrip('/')}/{run.name}")


def resume_point(
    choice: str,
    runs: Sequence[StageRun],
    facts: Mapping[str, Any],
    say: Callable[[str], None],
    store_url: str | None = None,
) -> tuple[int, Path | None]:
    """Return the index of the stage to run first and the verified checkpoint to go on from, or None to begin it.

    choice: a checkpoint folder; "latest", the newest whole checkpoint of the first stage that is not finished, from the
    volume or the object store; or "none". For one process of a job, since bad checkpoints are moved out of the way and
    missing ones fetched. Raises CheckpointError for a checkpoint or a finished stage that is damaged or of another run.
    """
    if choice == "none":
        if kept := [path for run in runs for path in checkpoints(run.folder)]:
            raise CheckpointError(
                f"--resume_from_checkpoint none: {kept[-1]} is of an earlier run, and would be taken for this one's; "
                "give another --output_dir, or delete it"
            )
        return 0, None
    if choice != "latest":
        checkpoint = Path(choice)
        if not checkpoint.is_dir():
            raise CheckpointError(
                f"--resume_from_checkpoint {choice}: no such folder; give a checkpoint, latest or none"
            )
        verify(checkpoint)
        index = _stage_of(checkpoint, runs, facts)
        _refuse_newer(checkpoint, runs[index], checkpoint_store(store_url, runs[index], runs))
        return index, checkpoint
    first = 0
    while first < len(runs) - 1 and (runs[first].folder / TRAINING_RUN).is_file():
        folder = runs[first].folder
        _refuse_another_run(folder, json.loads((folder / TRAINING_RUN).read_text(encoding="utf-8")), facts)
        say(f"{runs[first].name} is finished")
        first += 1
    newest = newest_verified(runs[first].folder, say, checkpoint_store(store_url, runs[first], runs))
    if newest is not None and _stage_of(newest, runs, facts) != first:
        raise CheckpointError(f"{newest} is not of {runs[first].name}; give another --output_dir")
    return first, newest


def on_as_many_ranks(run: StageRun, checkpoint: Path, world_size: int) -> StageRun:
    """Return the stage with the gradient accumulation that keeps the checkpoint's sequences a step on `world_size`.

    So the data come in the same order and the steps stay the same. Raises CheckpointError when it cannot be kept.
    """
    manifest = read_manifest(checkpoint)
    then, batch = manifest.get("sequences_per_step"), run.training.batch_size
    if manifest["world_size"] == world_size or then is None:
        return run
    accumulation, rest = divmod(then, batch * world_size)
    if rest:
        raise CheckpointError(
            f"{checkpoint} is of {manifest['world_size']} ranks with {then} sequences a step; {world_size} ranks with "
            f"training.batch_size {batch} cannot have as many: change the ranks, or training.batch_size"
        )
    training = dataclasses.replace(run.training, gradient_accumulation_steps=accumulation)
    return dataclasses.replace(run, training=training)


def _refuse_newer(checkpoint: Path, run: StageRun, store: ObjectStore | None) -> None:
    """Going back leaves newer checkpoints behind, and after a failure the newest would be taken again."""
    names = [path.name for path in checkpoints(run.folder)] + (store.checkpoints() if store else [])
    newer = [name for name in names if (step_of(name) or 0) > (step_of(checkpoint.name) or 0)]
    if newer:
        raise CheckpointError(
            f"--resume_from_checkpoint {checkpoint}: {newer[-1]} in {run.folder} or its object store is newer, and "
            "would be taken after a failure; move it away first, or give another --output_dir"
        )


def _stage_of(checkpoint: Path, runs: Sequence[StageRun], facts: Mapping[str, Any]) -> int:
    manifest = read_manifest(checkpoint)
    _refuse_another_run(checkpoint, manifest, facts)
    names = [run.name for run in runs]
    name = manifest.get("stage")
    if name not in names:
        raise CheckpointError(
            f"{checkpoint} is of stage {name!r}, this configuration has {', '.join(names)}; give that --config, or "
            "another --output_dir"
        )
    return names.index(name)


def _refuse_another_run(folder: Path, recorded: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    if any(recorded.get(name) != facts.get(name) for name in ("dataset_sha256", "feedback_sha256")):
        raise CheckpointError(
            f"{folder} was trained on other data; give that --data_dir and --feedback_dir, or another --output_dir"
        )
    if recorded.get("config", {}).get("model") != facts["config"]["model"]:
        raise CheckpointError(f"{folder} has another model section; give that --config, or another --output_dir")
