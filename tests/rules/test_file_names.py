"""One concept, one file: a name says what is inside, so there is no drawer for the rest."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
DRAWERS = {"utils", "util", "common", "helpers", "helper", "misc", "tools"}


def test_no_module_or_folder_is_a_drawer() -> None:
    paths = [path for folder in ("promethios", "serving", "tests", "bench") for path in (ROOT / folder).rglob("*")]
    drawers = [path for path in paths if path.stem in DRAWERS and "__pycache__" not in path.parts]
    assert not drawers
