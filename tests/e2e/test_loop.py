"""Generate, train, evaluate, export with the real commands; serving is tested on a real server in tests/serving."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import promethios.model.governance_sentinel_8b
from promethios.data.folder import dataset_sha256
from promethios.errors import ModelFolderError
from promethios.evaluation.calibration import Calibration
from promethios.evaluation.certificate import Certificate
from promethios.evaluation.lineage import load_lineage
from promethios.export_for_serving import check_loadable, export
from promethios.model.folder import weights_sha256

pytestmark = pytest.mark.integration

TINY = ("model.num_layers=2", "model.hidden_size=48", "model.intermediate_size=96", "model.vocab_size=600")
STEPS = ("training.max_steps=6", "training.save_steps=3", "training.batch_size=4", "training.sequence_length=512")
EVERY_STEP = ("--set", "training.logging_steps=1")
SHAPE = ("model.num_attention_heads=2", "model.num_key_value_heads=2")


def promethios(*words: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "promethios.cli", *map(str, words)]
    # No compiler on PATH: nothing may depend on one.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": str(Path(sys.executable).parent)}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment, check=False)


def train(data_dir: Path, output_dir: Path, *more: object) -> subprocess.CompletedProcess[str]:
    overrides = [word for pair in (*TINY, *SHAPE, *STEPS) for word in ("--set", pair)]
    return promethios(
        "train", "--config", "nano", "--data_dir", data_dir, "--output_dir", output_dir, *overrides, *more
    )


def append_a_byte(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"\0")


@pytest.fixture(scope="module")
def trained(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output_dir = tmp_path_factory.mktemp("loop") / "model"
    done = train(small_dataset, output_dir)
    assert done.returncode == 0, done.stderr
    return output_dir


@pytest.fixture(scope="module")
def evaluated(trained: Path, small_dataset: Path) -> Path:
    counts = ("--num_examples", 60, "--num_responses", 4)
    done = promethios("evaluate", "--model_path", trained, "--data_dir", small_dataset, *counts)
    # Six steps teach nothing: the gates must see that, and everything must be written all the same.
    assert done.returncode == 1, done.stdout + done.stderr
    return trained


@pytest.fixture(scope="module")
def exported(evaluated: Path) -> Path:
    output_path = evaluated.parent / "export"
    done = promethios("export", "--model_path", evaluated, "--output_path", output_path)
    assert done.returncode == 0, done.stderr
    return output_path


def test_the_exported_folder_loads_and_carries_the_same_weights_and_calibration(
    evaluated: Path, exported: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32)
    assert type(model).__name__ == "PromethiosForCausalLM"
    calibration = Calibration.load(exported)
    assert calibration == Calibration.load(evaluated)
    assert Certificate.load(exported, calibration) == Certificate.load(evaluated, calibration)
    assert (exported / "model.safetensors").stat().st_mode & 0o044, "a server under another user must read it"


def test_lineage_links_dataset_run_weights_and_report(exported: Path, small_dataset: Path) -> None:
    lineage = json.loads((exported / "lineage.json").read_text())
    report = json.loads((exported / "evaluation_report.json").read_text())
    assert lineage["dataset_sha256"] == dataset_sha256(small_dataset) == report["provenance"]["dataset_sha256"]
    assert lineage["weights_sha256"] == weights_sha256(exported) == report["provenance"]["weights_sha256"]
    assert lineage["training_run"]["steps"] == 6
    assert lineage["gates_hold"] is False
    assert {*lineage["files"], "model.safetensors", "lineage.json"} == {path.name for path in exported.iterdir()}
    assert load_lineage(exported, Certificate.load(exported, Calibration.load(exported))) == lineage
    assert lineage["weights_sha256"][:12] in (exported / "README.md").read_text()


def test_an_export_replaces_an_earlier_one_and_refuses_a_foreign_folder(exported: Path, tmp_path: Path) -> None:
    target = tmp_path / "export"
    export(exported, target)
    export(exported, target)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(ModelFolderError, match="is not empty"):
        export(exported, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "governance_calibration.json").unlink(), "run `promethios evaluate"),
        (lambda folder: (folder / "governance_certificate.json").unlink(), "run `promethios evaluate"),
        (lambda folder: (folder / "evaluation_report.json").unlink(), "run `promethios evaluate"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"model\.safetensors"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"tokenizer\.json"),
        (append_a_byte, "belongs to weights"),
    ],
)
def test_a_folder_whose_parts_do_not_belong_together_is_not_exported(
    exported: Path, tmp_path: Path, damage: object, message: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(exported, source)
    damage(source)  # type: ignore[operator]
    with pytest.raises(ModelFolderError, match=message):
        export(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_weights_that_do_not_fit_the_configuration_are_named(exported: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(exported, source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "veritas_rank": config["veritas_rank"] + 1}))
    with pytest.raises(ModelFolderError, match=r"weights do not fit config\.json: .*veritas"):
        check_loadable(source)


def test_training_again_with_other_data_or_another_model_is_refused(trained: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert promethios("generate", "--output_dir", other, "--num_examples", 100, "--seed", 9).returncode == 0
    done = train(other, trained)
    assert done.returncode == 2 and "was trained on other data" in done.stderr


def test_a_full_disk_leaves_the_earlier_checkpoint_intact(trained: Path, small_dataset: Path, tmp_path: Path) -> None:
    output_dir = tmp_path / "model"
    shutil.copytree(trained, output_dir)
    before = {path.name: path.stat().st_size for path in (output_dir / "checkpoint-6").rglob("*") if path.is_file()}
    # The kernel refuses to write more than 100 KiB to any file: what a full disk does to a checkpoint.
    overrides = [word for pair in (*TINY, *SHAPE, *STEPS, "training.max_steps=12") for word in ("--set", pair)]
    limited = subprocess.run(
        [
            *("bash", "-c", 'trap "" XFSZ; ulimit -f 100; exec "$@"', "limited"),
            *(sys.executable, "-m", "promethios.cli", "train", "--config", "nano"),
            *("--data_dir", str(small_dataset), "--output_dir", str(output_dir), *overrides),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert limited.returncode == 2, limited.stderr
    assert "could not be written" in limited.stderr and "kept intact: " in limited.stderr
    assert "Traceback" not in limited.stderr
    after = {path.name: path.stat().st_size for path in (output_dir / "checkpoint-6").rglob("*") if path.is_file()}
    assert after == before
    assert not (output_dir / "checkpoint-9").exists() and not (output_dir / ".staging").exists()


def test_a_loss_that_is_no_number_stops_the_run_and_says_what_to_do(small_dataset: Path, tmp_path: Path) -> None:
    done = train(small_dataset, tmp_path / "model", "--set", "training.learning_rate=1e30", *EVERY_STEP)
    assert done.returncode == 2, done.stderr
    assert "the loss is nan at step" in done.stderr and "lower training.learning_rate" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--resume_from_checkpoint", "nowhere"), "nowhere: no such folder"),
        (("--set", "training.epoch=1"), "unknown key training.epoch; did you mean 'epochs'"),
        (("--data_dir", "nowhere"), "promethios generate --output_dir nowhere"),
    ],
)
def test_a_mistake_ends_in_one_line_and_exit_code_2(
    small_dataset: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    done = train(small_dataset, tmp_path / "model", *words)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "model").exists()
