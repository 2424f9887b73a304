"""Records of somebody else's JSONL files, with the place of each for error messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from promethios.data.json_lines import parse_object
from promethios.errors import DatasetError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Record:
    """One line. place: file and line number. number: of the line, from 1."""

    path: Path
    number: int
    fields: Mapping[str, Any]

    @property
    def place(self) -> str:
        """Return "file:line"."""
        return f"{self.path}:{self.number}"

    def take(self, key: str, kind: type[T], allowed: str) -> T:
        """Return a field of the type asked for. Raises DatasetError naming place, key, value and what is allowed."""
        value = self.fields.get(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            found = "missing" if key not in self.fields else f"{value!r:.80}"
            raise DatasetError(f"{self.place}: {key} is {found}; give {allowed}")
        return value

    def text(self, key: str) -> str:
        """Return a text that is not empty. Raises DatasetError."""
        value = self.take(key, str, "text")
        if not value.strip():
            raise DatasetError(f"{self.place}: {key} is empty; give text")
        return value


def read_folder(folder: Path, what: str) -> Iterator[Record]:
    """Yield every record of every .jsonl file in a folder, files in name order.

    what: the benchmark, for messages. Raises DatasetError for a folder without such files and for a line that is not a
    JSON object.
    """
    paths = sorted(folder.glob("*.jsonl"))
    if not paths:
        raise DatasetError(f"{folder}: holds no .jsonl file of {what}; evaluation/external_sets/README.md says which")
    for path in paths:
        yield from _read_file(path)


def _read_file(path: Path) -> Iterator[Record]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # splitlines would cut at U+2028 too
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        yield Record(path, number, parse_object(line, f"{path}:{number}"))
