from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from promethios.evaluation.lineage import LINEAGE, file_hashes
from promethios.model.folder import weights_sha256
from promethios_serving.fetch_model import main, verify_model


@pytest.fixture
def store(nano_folder: Path, tmp_path: Path) -> Path:
    """An exported folder in a `file:///` store."""
    folder = tmp_path / "store" / "model"
    shutil.copytree(nano_folder, folder)
    (folder / "evaluation_report.json").write_text("{}", encoding="utf-8")

    def digest(name: str) -> str:
        return hashlib.sha256((folder / name).read_bytes()).hexdigest()

    lineage = {
        "weights_sha256": weights_sha256(folder),
        "calibration_sha256": digest("governance_calibration.json"),
        "certificate_sha256": digest("governance_certificate.json"),
        "evaluation_report_sha256": digest("evaluation_report.json"),
        "files": file_hashes(folder),
    }
    (folder / LINEAGE).write_text(json.dumps(lineage), encoding="utf-8")
    return folder


def fetch(store: Path, into: Path) -> int:
    return main([f"file://{store}", str(into)])


def test_a_fetched_folder_is_the_exported_one(store: Path, tmp_path: Path) -> None:
    assert fetch(store, tmp_path / "model") == 0
    verify_model(tmp_path / "model")
    names = {path.name: path.read_bytes() for path in store.iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == names


def test_what_is_there_and_verifies_is_not_fetched_again(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(store, tmp_path / "model")
    before = (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns
    assert fetch(store, tmp_path / "model") == 0
    assert (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns == before
    assert "was there, verified" in capsys.readouterr().err


def test_a_folder_that_was_half_fetched_is_fetched_whole(store: Path, tmp_path: Path) -> None:
    fetch(store, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"half")
    assert fetch(store, tmp_path / "model") == 0
    verify_model(tmp_path / "model")


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "governance_calibration.json",
        "governance_certificate.json",
        "evaluation_report.json",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ],
)
def test_a_changed_file_in_the_store_is_refused_and_nothing_stays(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    content = (store / name).read_bytes()
    (store / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if name.endswith("tensors") else content + b"\n")
    assert fetch(store, tmp_path / "model") == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert list((tmp_path / "model").iterdir()) == []


def test_a_lineage_from_before_it_named_every_file_is_accepted(store: Path, tmp_path: Path) -> None:
    lineage = json.loads((store / LINEAGE).read_text(encoding="utf-8"))
    del lineage["files"]
    (store / LINEAGE).write_text(json.dumps(lineage), encoding="utf-8")
    (store / "chat_template.jinja").write_text("another", encoding="utf-8")
    assert fetch(store, tmp_path / "model") == 0


def test_a_place_without_an_export_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert fetch(tmp_path / "empty", tmp_path / "model") == 2
    assert "lineage.json" in capsys.readouterr().err
    assert main(["http://host/model", str(tmp_path / "model")]) == 2
    assert "s3://" in capsys.readouterr().err
