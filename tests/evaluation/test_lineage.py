from __future__ import annotations

import json
from pathlib import Path

import pytest

from promethios.errors import ModelFolderError
from promethios.evaluation import lineage as lineages
from promethios.evaluation.certificate import Certificate
from promethios.evaluation.lineage import LINEAGE, file_hashes, load_lineage, part_hashes
from promethios.model.folder import weights_sha256

PARTS = ("governance_calibration.json", "governance_certificate.json", "evaluation_report.json", "README.md")
LOADED = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A folder with the names of an export, and its lineage."""
    for name in (*PARTS, *LOADED, "model.safetensors"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    write(tmp_path, {**part_hashes(tmp_path, certificate(tmp_path)), "files": file_hashes(tmp_path)})
    return tmp_path


def certificate(folder: Path) -> Certificate:
    own = weights_sha256(folder)
    return Certificate(
        weights_sha256=own,
        calibration_sha256="c" * 64,
        dataset_sha256="b" * 64,
        confidence=0.95,
        domains={},
        default_threshold=0.9,
    )


def write(folder: Path, lineage: object) -> None:
    (folder / LINEAGE).write_text(json.dumps(lineage), encoding="utf-8")


def load(folder: Path) -> object:
    return load_lineage(folder, certificate(folder))


def test_a_lineage_names_every_file_but_the_weights_and_itself(exported: Path) -> None:
    assert set(file_hashes(exported)) == {*PARTS, *LOADED}
    assert load(exported) is not None


@pytest.mark.parametrize("name", [*LOADED, "evaluation_report.json", "README.md"])
def test_a_file_that_changed_or_is_gone_is_named(exported: Path, name: str) -> None:
    (exported / name).write_text("{ }", encoding="utf-8")
    with pytest.raises(ModelFolderError, match=f"{name} is not the one that was exported"):
        load(exported)
    (exported / name).unlink()
    with pytest.raises(ModelFolderError, match=f"{name} is missing; bring the exported file back"):
        load(exported)


@pytest.mark.parametrize("name", ["added_tokens.json", "additional_chat_templates/x.jinja", "tokenizer.model", "x.py"])
def test_a_file_that_a_loader_might_read_may_not_be_added(exported: Path, name: str) -> None:
    (exported / name).parent.mkdir(exist_ok=True)
    (exported / name).write_text("{}", encoding="utf-8")
    with pytest.raises(ModelFolderError, match=f"{name} was not exported"):
        load(exported)


@pytest.mark.parametrize("name", ["LICENSE", "lost+found", ".cache/x.json"])
def test_what_no_loader_reads_may_lie_beside(exported: Path, name: str) -> None:
    (exported / name).parent.mkdir(exist_ok=True)
    (exported / name).write_text("", encoding="utf-8")
    load(exported)


def test_an_older_lineage_without_files_is_accepted(exported: Path) -> None:
    write(exported, part_hashes(exported, certificate(exported)))
    (exported / "chat_template.jinja").write_text("another", encoding="utf-8")
    assert load(exported) is not None


def test_files_that_are_no_object_are_refused(exported: Path) -> None:
    write(exported, {**part_hashes(exported, certificate(exported)), "files": ["config.json"]})
    with pytest.raises(ModelFolderError, match="`files` must be an object"):
        load(exported)


def test_the_weights_are_not_read_for_it(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, read = certificate(exported), []
    sha256 = lineages.sha256
    monkeypatch.setattr(lineages, "sha256", lambda path: read.append(path.name) or sha256(path))
    load_lineage(exported, own)
    assert sorted(read) == sorted([*PARTS, *LOADED])
