"""The numbers in README are the recorded ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_readme_shows_the_recorded_measurements() -> None:
    command = [sys.executable, str(ROOT / "bench" / "table.py")]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert table in (ROOT / "README.md").read_text(encoding="utf-8"), "paste the output of `python bench/table.py`"
