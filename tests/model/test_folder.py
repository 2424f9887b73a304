from __future__ import annotations

import json
from pathlib import Path

import pytest

from promethios.errors import ModelFolderError
from promethios.model.folder import REQUIRED_FILES, check_model_folder, weights_sha256


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in REQUIRED_FILES:
        (tmp_path / name).write_text("{}")
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["PromethiosForCausalLM"]}))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


def test_a_whole_folder_passes(folder: Path) -> None:
    assert check_model_folder(folder)["architectures"] == ["PromethiosForCausalLM"]


@pytest.mark.parametrize("name", [*REQUIRED_FILES, "model.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelFolderError, match=name.replace(".", r"\.")):
        check_model_folder(folder)


def test_a_missing_shard_is_named(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    with pytest.raises(ModelFolderError, match=r"model-1\.safetensors"):
        check_model_folder(folder)


def test_another_architecture_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    with pytest.raises(ModelFolderError, match=r"LlamaForCausalLM.*allowed"):
        check_model_folder(folder)


def test_a_damaged_configuration_is_named(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelFolderError, match=r"config\.json is not valid JSON"):
        check_model_folder(folder)


def test_the_fingerprint_changes_with_one_byte(folder: Path) -> None:
    before = weights_sha256(folder)
    (folder / "model.safetensors").write_bytes(b"weighty")
    assert weights_sha256(folder) != before
