"""Strict reading of a YAML file: every value is taken by name and type, and what nobody asked for is an error.

An error is a ConfigError that names the file, the dotted key, the value found and what is allowed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NoReturn

import yaml

from promethios import strict_yaml
from promethios.errors import ConfigError, nearest


def parse_yaml(text: str, file: str) -> Section:
    """Parse the text of a YAML file whose top level is a mapping; `file` is its name in messages."""
    return Section(file, "", load_yaml(text, file))


def load_yaml(text: str, file: str) -> Any:
    """Return the plain data of a YAML text. Raises ConfigError with file and line, also for a key given twice."""
    try:
        return strict_yaml.load_yaml(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{file}{line}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: what looks like a date and is none
        raise ConfigError(f"{file}: not YAML: {error}") from None


class Section:
    """A mapping of a YAML file, at a dotted key."""

    def __init__(self, file: str, key: str, values: Any) -> None:
        self.file = file
        self.key = key
        if not isinstance(values, Mapping):
            raise ConfigError(f"{file}: {key or 'the file'}: {_shown(values)} must be a mapping")
        for name in values:
            if not isinstance(name, str):
                raise ConfigError(f"{file}: {key or 'the file'}: key {_shown(name)} must be text; put it in quotes")
        self._values: Mapping[str, Any] = values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def only(self, *allowed: str) -> Section:
        """Refuse any key that is not `allowed`; returns the section."""
        for name in self._values:
            if name not in allowed:
                raise ConfigError(f"{self.file}: unknown key {self._dotted(name)}{nearest(name, allowed)}")
        return self

    def section(self, name: str) -> Section:
        """Return a mapping."""
        return Section(self.file, self._dotted(name), self._get(name))

    def sections(self, name: str) -> dict[str, Section]:
        """Return a mapping of ids to mappings. An id is lower-case letters, digits and underscores."""
        outer = self.section(name)
        for key in outer:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", key):
                self.fail(f"{name}.{key}", key, "an id of lower-case letters, digits and underscores")
        return {key: outer.section(key) for key in outer}

    def text(self, name: str) -> str:
        """Return a text that is not blank."""
        value = self._get(name)
        if not isinstance(value, str) or not value.strip():
            self.fail(name, value, "text that is not blank")
        return value.strip()

    def integer(self, name: str, low: int, high: int) -> int:
        """Return an integer in [low, high]."""
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fail(name, value, f"an integer from {low} to {high}")
        return value

    def number(self, name: str, high: float = math.inf) -> float:
        """Return a finite number in [0, high]."""
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= high or value == math.inf:
            self.fail(name, value, f"a number from 0 to {high}" if high < math.inf else "a finite number, 0 or more")
        return float(value)

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self._get(name)
        if not isinstance(value, bool):
            self.fail(name, value, "true or false")
        return value

    def one_of(self, name: str, allowed: Collection[str]) -> str:
        """Return one of the allowed words."""
        value = self._get(name)
        if not isinstance(value, str) or value not in allowed:
            place = f"{self.file}: {self._dotted(name)}: {_shown(value)}"
            raise ConfigError(f"{place} is unknown{nearest(str(value), allowed)}")
        return value

    def each_of(self, name: str, allowed: Collection[str]) -> tuple[str, ...]:
        """Return a list of allowed words, each at most once."""
        values = self._get(name)
        if not isinstance(values, list):
            self.fail(name, values, "a list")
        for index, value in enumerate(values):
            place = f"{self.file}: {self._dotted(name)}[{index}]: {_shown(value)}"
            if not isinstance(value, str) or value not in allowed:
                raise ConfigError(f"{place} is unknown{nearest(str(value), allowed)}")
            if value in values[:index]:
                raise ConfigError(f"{place} stands there twice; remove one")
        return tuple(values)

    def pattern(self, name: str) -> re.Pattern[str]:
        """Return a regular expression that ignores case."""
        text = self.text(name)
        try:
            return re.compile(text, re.IGNORECASE)
        except re.error as error:
            self.fail(name, text, f"a regular expression ({error})")

    def fail(self, name: str, value: Any, allowed: str) -> NoReturn:
        """Raise the ConfigError for a value that is not allowed."""
        raise ConfigError(f"{self.file}: {self._dotted(name)}: {_shown(value)} is not allowed; give {allowed}")

    def _get(self, name: str) -> Any:
        if name not in self._values:
            raise ConfigError(f"{self.file}: {self._dotted(name)} is missing; add it")
        return self._values[name]

    def _dotted(self, name: str) -> str:
        return f"{self.key}.{name}" if self.key else name


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
