"""The dataset folder: one .jsonl file a split, its Parquet twin, a card, the ceilings, and DATASET.sha256 over all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from promethios.errors import DatasetError, nearest

SPLITS: Final = (
    "train", "validation", "calibration", "test", "test_held_out_domains", "test_held_out_values",
    "test_held_out_wording", "conflict_pairs", "spoof_pairs", "bias_pairs", "tool_use", "train_pairs",
    "train_contrasts",
)  # fmt: skip
DEFAULT_DATA_DIR: Final = Path("data/governance")
CARD: Final = "README.md"
CEILINGS: Final = "ceilings.json"
HASHES: Final = "DATASET.sha256"
FILES: Final = (*(f"{split}.jsonl" for split in SPLITS), CARD, CEILINGS, HASHES)
TWINS: Final = tuple(f"parquet/{split}.parquet" for split in SPLITS)
"""Only where pyarrow was installed; they hold nothing that the .jsonl files do not."""
_TEMPORARY: Final = ".tmp"


def split_path(folder: Path, split: str) -> Path:
    """Return the path of a split's file. Raises DatasetError when it does not exist."""
    if split not in SPLITS:
        raise DatasetError(f"there is no split {split!r}{nearest(split, SPLITS)}")
    path = folder / f"{split}.jsonl"
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; write it with `promethios generate --output_dir {folder}`")
    return path


def dataset_sha256(folder: Path) -> str:
    """Return the dataset's identity: the SHA-256 of DATASET.sha256 without the lines of the Parquet twins.

    The bytes of a twin hang on the version of pyarrow, what it holds does not. Raises DatasetError when the file is
    missing.
    """
    path = folder / HASHES
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError:
        raise DatasetError(
            f"{path}: no such file; write a dataset with `promethios generate --output_dir {folder}`"
        ) from None
    return hashlib.sha256(b"".join(line for line in lines if b"  parquet/" not in line)).hexdigest()


def verify_dataset(folder: Path) -> None:
    """Compare every file with DATASET.sha256. Raises DatasetError naming the first file that differs."""
    dataset_sha256(folder)
    for number, line in enumerate((folder / HASHES).read_text(encoding="ascii").splitlines(), 1):
        expected, _, name = line.partition("  ")
        if name not in (*FILES, *TWINS):
            raise DatasetError(f"{folder / HASHES}:{number}: {line[:80]!r} must be a SHA-256, two blanks, a file name")
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise DatasetError(f"{path}: missing or changed since it was generated; generate the dataset again")


def check_output_folder(folder: Path) -> None:
    """Refuse a folder that is not free for a dataset: not a folder, or full of other things. Raises DatasetError."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise DatasetError(f"{folder}: a file stands there; name a folder")
    if (folder / HASHES).is_file():
        return
    # Temporary files are what a run that was killed has left; anything else is somebody's.
    expected = {_temporary(folder / name) for name in (*FILES, *TWINS)}
    others = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path not in expected)
    others = [name for name in others if name != "parquet"]
    if others:
        raise DatasetError(f"{folder}: holds other files ({others[0]}) and no dataset; name a new or an empty folder")


def write_dataset(folder: Path, contents: Mapping[str, str | bytes]) -> str:
    """Write a dataset's files and DATASET.sha256; returns the dataset's SHA-256.

    contents: file name to content, for every one of FILES but DATASET.sha256, and for all of TWINS or none. Everything
    is written under temporary names first, so a full disk leaves an earlier dataset as it was; the hashes come last, so
    a torn set does not verify. Raises DatasetError for a folder that holds other things or cannot be written.
    """
    check_output_folder(folder)
    data = {name: content.encode() if isinstance(content, str) else content for name, content in contents.items()}
    hashes = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in data.items())
    data[HASHES] = hashes.encode()
    paths = {name: folder / name for name in data}
    try:
        for path in paths.values():
            path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    try:
        for name, path in paths.items():
            _temporary(path).write_bytes(data[name])
        for path in paths.values():
            _temporary(path).replace(path)
        for name in set(TWINS) - set(data):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    finally:
        for path in paths.values():
            _temporary(path).unlink(missing_ok=True)
    return dataset_sha256(folder)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}{_TEMPORARY}")


def _cannot_write(folder: Path, error: OSError) -> DatasetError:
    return DatasetError(f"{folder}: cannot write the dataset: {error.strerror or error}")
