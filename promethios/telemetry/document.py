"""Telemetry as a document: what a telemetry file or URL holds.

    trust: 0.72                                        a value; as old as the document
    verify: {value: 0.9, age_s: 12}                    12 s older than the document
    emotion: {value: CALM, at: "2026-01-01T12:00:00Z"} read at that time
or  tags: "<gov:trust=0.72><gov:emotion=CALM>"         the text form, alone

A document is as old as the file's last modification, or as the reply that brought it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from promethios.errors import TelemetryError
from promethios.strict_yaml import load_json, load_yaml
from promethios.telemetry import tags
from promethios.telemetry.state import MAX_CLOCK_SKEW_S, GovernanceState

MAX_DOCUMENT_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class TelemetryDocument:
    """A state as it was at `taken_at` (Unix seconds)."""

    state: GovernanceState
    taken_at: float

    def state_at(self, now: float) -> GovernanceState:
        """Return the state with the ages it has at `now` (Unix seconds)."""
        return self.state.aged(max(0.0, now - self.taken_at))


def document_from_plain(content: Any, taken_at: float) -> TelemetryDocument:
    """Build a document from plain data (parsed JSON or YAML). Raises TelemetryError."""
    if isinstance(content, dict) and "tags" in content:
        if len(content) > 1 or not isinstance(content["tags"], str):
            raise TelemetryError("telemetry `tags` must be a text of <gov:name=value> tags and stand alone")
        return TelemetryDocument(tags.parse(content["tags"]), taken_at)
    return TelemetryDocument(GovernanceState.from_mapping(content, now=taken_at), taken_at)


def read_telemetry_file(path: Path) -> TelemetryDocument:
    """Read a telemetry file, JSON or YAML. Raises TelemetryError naming the file and what is wrong in it."""
    try:
        modified = path.stat().st_mtime
        with path.open("rb") as stream:
            raw = stream.read(MAX_DOCUMENT_BYTES + 1)
        ahead = modified - time.time()
        if ahead > MAX_CLOCK_SKEW_S:
            raise TelemetryError(f"modified {ahead:.0f} s in the future; check the clocks")
        return document_from_plain(parse_document(raw, is_json=path.suffix == ".json"), modified)
    except OSError as error:
        raise TelemetryError(f"telemetry file {path}: {error.strerror}") from None
    except TelemetryError as error:
        raise TelemetryError(f"telemetry file {path}: {error}") from None


def parse_document(raw: bytes, *, is_json: bool) -> Any:
    """Parse the bytes of a document into plain data. Raises TelemetryError for too many bytes or bad syntax."""
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise TelemetryError(f"more than {MAX_DOCUMENT_BYTES} bytes; telemetry is a few lines")
    try:
        text = raw.decode("utf-8")
        return load_json(text) if is_json else load_yaml(text)
    except (ValueError, RecursionError) as error:
        raise TelemetryError(f"not valid {'JSON' if is_json else 'YAML'}: {error}") from None
    except yaml.YAMLError as error:
        raise TelemetryError(f"not valid YAML: {' '.join(str(error).split())}") from None
