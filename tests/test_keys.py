from __future__ import annotations

from pathlib import Path

import pytest

from promethios.cli import main
from promethios.keys import _SCOPES
from promethios_serving.access.access_file import AccessFile
from promethios_serving.access.caller import SCOPES


def test_a_made_key_opens_what_its_entry_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "--id", "app", "--scopes", "infer", "telemetry"]) == 0
    out, err = capsys.readouterr()
    entry = next(line for line in err.splitlines() if line.startswith("  - "))
    (tmp_path / "access.yaml").write_text(f"keys:\n{entry}\n", encoding="utf-8")
    caller = AccessFile(tmp_path / "access.yaml").caller(out.strip())
    assert caller is not None
    assert caller.scopes == {"infer", "telemetry"}
    assert out.strip() not in err


def test_the_verb_knows_the_scopes_that_there_are() -> None:
    assert _SCOPES == SCOPES
