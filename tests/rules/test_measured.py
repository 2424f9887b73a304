"""The numbers in README are the recorded ones."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def printed_table(bench: Path) -> str:
    command = [sys.executable, str(bench / "table.py")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_readme_shows_the_recorded_measurements() -> None:
    table = printed_table(ROOT / "bench")
    assert table in (ROOT / "README.md").read_text(encoding="utf-8"), "paste the output of `python bench/table.py`"


def test_numbers_that_only_a_newer_record_has_get_their_rows(tmp_path: Path) -> None:
    bench = tmp_path / "bench"
    shutil.copytree(ROOT / "bench", bench)
    path = bench / "results" / "quality.json"
    record = json.loads(path.read_text())
    number = {"value": 0.123, "low": 0.1, "high": 0.2}
    record["results"]["numbers"] = {
        "in-domain: accuracy as served": number,
        "auto-answered at one pooled threshold certified to miss <= 2 %": number,
        "headers shuffled: AUROC of a reader of the text alone, the level to fall to": number,
    }
    path.write_text(json.dumps(record))
    rows = [row for row in printed_table(bench).splitlines() if "0.123 [0.100, 0.200]" in row]
    assert [row.split("|")[1].split(":")[0].strip() for row in rows] == [
        "- as served, more careful under degraded telemetry",
        "Answered without a person",
        "- should fall to",
    ]
