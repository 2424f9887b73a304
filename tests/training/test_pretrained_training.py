"""The real command on a small pretrained backbone: two stages under DeepSpeed, stopped between checkpoints, resumed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from promethios.configs.run_config import ModelSection
from promethios.export_for_serving import check_loadable
from promethios.model.folder import check_model_folder
from promethios.model.scoring import load_model
from promethios.training.stages import BACKBONE
from tests.training.ranks import Training

pytestmark = pytest.mark.integration

MODULES = "stage-1-modules"


def train(config: Path, data_dir: Path, output_dir: Path) -> str:
    log = output_dir.with_suffix(".log")
    training = Training(["--config", config, "--data_dir", data_dir, "--output_dir", output_dir], log)
    assert training.end() == 0, training.output
    return training.output


@pytest.fixture(scope="module", params=[1, 3], ids=["zero-1", "zero-3"])
def run(
    request: pytest.FixtureRequest,
    small_dataset: Path,
    tmp_path_factory: pytest.TempPathFactory,
    write_backbone: Callable[..., ModelSection],
) -> tuple[Path, Path]:
    """The configuration and the output folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("pretrained")
    training = {
        "max_steps": 2,
        "save_steps": 1,
        "logging_steps": 1,
        "batch_size": 1,
        "sequence_length": 1536,
        "learning_rate": 1e-2,
        "bf16": True,
        "zero_stage": request.param,
        "stages": [{"train": "modules", "learning_rate": 2e-2}, {"train": "lora", "lora_rank": 4}],
    }
    model = dataclasses.asdict(write_backbone(folder / "backbone", "qwen3", tied=True))
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"model": model, "training": training}))
    train(config, small_dataset, folder / "run")
    return config, folder / "run"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_the_first_stage_moves_the_modules_and_the_new_rows_only(run: tuple[Path, Path]) -> None:
    before, after = weights(run[1] / BACKBONE), weights(run[1] / MODULES)
    moved = changed(before, after)
    assert "model.layers.0.governance.anchor.gate" in moved and "governance_heads.weight" in moved
    backbone = {name for name in moved if "governance" not in name and "domain_probe" not in name}
    assert backbone == {"model.embed_tokens.weight"}
    rows = (before["model.embed_tokens.weight"] != after["model.embed_tokens.weight"]).any(1).nonzero().flatten()
    first = json.loads((run[1] / "config.json").read_text())["first_reserved_id"]
    assert rows.min() >= first and rows.max() < first + 200


def test_the_second_stage_moves_every_projection_through_merged_adapters(run: tuple[Path, Path]) -> None:
    moved = changed(weights(run[1] / MODULES), weights(run[1]))
    for layer in range(3):
        for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj"):
            assert f"model.layers.{layer}.{name}.weight" in moved
    assert "model.norm.weight" not in moved


def test_the_result_is_a_model_folder_that_loads_and_says_what_it_is(run: tuple[Path, Path]) -> None:
    check_model_folder(run[1])
    check_loadable(run[1])
    assert not torch.isnan(load_model(run[1]).governance_heads.weight).any()
    facts = json.loads((run[1] / "training_run.json").read_text())
    assert facts["stage"] == "stage-2-lora" and facts["config"]["model"]["from_pretrained"]


def test_the_divergence_from_the_backbone_starts_at_zero_and_is_logged(run: tuple[Path, Path]) -> None:
    lines = (run[1] / MODULES / "logs" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["loss_preservation"] == 0.0


def test_a_run_that_was_stopped_in_the_second_stage_goes_on_there(
    run: tuple[Path, Path], small_dataset: Path, tmp_path: Path
) -> None:
    config, uninterrupted = run
    folder = tmp_path / "run"
    shutil.copytree(uninterrupted, folder)
    for name in ("model.safetensors", "training_run.json"):
        (folder / name).unlink()
    shutil.rmtree(folder / "checkpoint-2")
    said = train(config, small_dataset, folder)
    assert f"{MODULES} is finished" in said and f"resuming from {folder / 'checkpoint-1'}" in said
    for name, tensor in weights(uninterrupted).items():
        torch.testing.assert_close(weights(folder)[name], tensor, atol=1e-2, rtol=1e-2, msg=name)
