"""The dataset folder: whole or not at all, and never over somebody's other files."""

from __future__ import annotations

import errno
import hashlib
import shutil
from pathlib import Path

import pytest

from promethios.data.folder import (
    CARD,
    CEILINGS,
    FILES,
    HASHES,
    SPLITS,
    TWINS,
    dataset_sha256,
    split_path,
    verify_dataset,
    write_dataset,
)
from promethios.errors import DatasetError

CONTENTS: dict[str, str | bytes] = {
    **{f"{split}.jsonl": f"{split}\n" for split in SPLITS},
    **dict.fromkeys(TWINS, b"PAR1"),
    CARD: "card\n",
    CEILINGS: "{}\n",
}
WITHOUT_TWINS = {name: content for name, content in CONTENTS.items() if name not in TWINS}


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "dataset"
    write_dataset(path, CONTENTS)
    return path


def test_a_dataset_has_exactly_its_files(folder: Path) -> None:
    assert files_in(folder) == sorted([*FILES, *TWINS])
    verify_dataset(folder)


def test_every_file_has_its_hash(folder: Path) -> None:
    hashed = {line.split("  ")[1] for line in (folder / HASHES).read_text(encoding="ascii").splitlines()}
    assert hashed == {*FILES, *TWINS} - {HASHES}


def test_its_identity_is_the_hash_of_its_hashes_and_the_twins_add_nothing(folder: Path) -> None:
    identity = dataset_sha256(folder)
    write_dataset(folder, WITHOUT_TWINS)
    assert identity == hashlib.sha256((folder / HASHES).read_bytes()).hexdigest() == dataset_sha256(folder)


def test_a_dataset_without_twins_leaves_none_of_an_earlier_one(folder: Path) -> None:
    write_dataset(folder, WITHOUT_TWINS)
    assert files_in(folder) == sorted(FILES)
    verify_dataset(folder)


@pytest.mark.parametrize("name", ["train.jsonl", CARD, "parquet/train.parquet"])
def test_a_changed_file_is_named(folder: Path, name: str) -> None:
    (folder / name).write_text("other\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=name):
        verify_dataset(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "test.jsonl").unlink()
    with pytest.raises(DatasetError, match=r"test\.jsonl: missing or changed"):
        verify_dataset(folder)
    with pytest.raises(DatasetError, match="promethios generate"):
        split_path(folder, "test")


def test_broken_hashes_are_named(folder: Path) -> None:
    (folder / HASHES).write_text("../../etc/passwd\n", encoding="ascii")
    with pytest.raises(DatasetError, match=rf"{HASHES}:1"):
        verify_dataset(folder)


def test_an_unknown_split_names_the_nearest(folder: Path) -> None:
    with pytest.raises(DatasetError, match="did you mean 'calibration'"):
        split_path(folder, "calibraton")


def test_a_folder_without_a_dataset_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="promethios generate"):
        dataset_sha256(tmp_path)


def test_a_dataset_is_replaced(folder: Path) -> None:
    write_dataset(folder, {**CONTENTS, CARD: "new card\n"})
    assert (folder / CARD).read_text(encoding="utf-8") == "new card\n"
    verify_dataset(folder)


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    write_dataset(tmp_path, CONTENTS)
    verify_dataset(tmp_path)


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"thesis\.txt"):
        write_dataset(tmp_path, CONTENTS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_other_files_with_the_names_of_ours_are_refused_too(tmp_path: Path) -> None:
    (tmp_path / CARD).write_text("my project", encoding="utf-8")
    with pytest.raises(DatasetError, match=CARD):
        write_dataset(tmp_path, CONTENTS)
    assert (tmp_path / CARD).read_text(encoding="utf-8") == "my project"


def test_a_folder_of_other_parquet_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "parquet").mkdir()
    (tmp_path / "parquet" / "sales.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"parquet/sales\.parquet"):
        write_dataset(tmp_path, CONTENTS)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dataset"
    path.write_text("a file", encoding="utf-8")
    with pytest.raises(DatasetError, match="a file stands there"):
        write_dataset(path, CONTENTS)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DatasetError, match="cannot write the dataset"):
        write_dataset(tmp_path / "file" / "dataset", CONTENTS)


def test_a_full_disk_leaves_the_earlier_dataset_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes = Path.write_bytes

    def fill_up(path: Path, data: bytes) -> int:
        if path.name == f".{CEILINGS}.tmp":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, data)

    before = {name: (folder / name).read_bytes() for name in files_in(folder)}
    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with pytest.raises(DatasetError, match="No space left on device"):
        write_dataset(folder, {name: f"new {content!r}" for name, content in CONTENTS.items()})
    assert {name: (folder / name).read_bytes() for name in files_in(folder)} == before


def test_a_dataset_without_its_hashes_does_not_verify(folder: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn"
    shutil.copytree(folder, torn)
    (torn / HASHES).unlink()
    with pytest.raises(DatasetError):
        verify_dataset(torn)


def test_what_a_killed_run_left_does_not_stand_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "parquet").mkdir()
    for name in (".train.jsonl.tmp", "parquet/.train.parquet.tmp"):
        (tmp_path / name).write_text("half", encoding="utf-8")
    write_dataset(tmp_path, CONTENTS)
    verify_dataset(tmp_path)
    assert files_in(tmp_path) == sorted([*FILES, *TWINS])
