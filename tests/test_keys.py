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


@pytest.mark.parametrize(("option", "name"), [("--id", "a: b"), ("--id", ""), ("--tenant", "two words")])
def test_a_name_that_no_access_file_takes_is_refused(
    capsys: pytest.CaptureFixture[str], option: str, name: str
) -> None:
    assert main(["keys", "--id", "app", option, name]) == 2
    assert f"{option} {name!r} is not a name" in capsys.readouterr().err


def test_a_number_is_a_name_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "--id", "123", "--tenant", "42"]) == 0
    out, err = capsys.readouterr()
    entry = next(line for line in err.splitlines() if line.startswith("  - "))
    (tmp_path / "access.yaml").write_text(f"tenants:\n  '42': {{}}\nkeys:\n{entry}\n", encoding="utf-8")
    caller = AccessFile(tmp_path / "access.yaml").caller(out.strip())
    assert caller is not None and (caller.key_id, caller.tenant) == ("123", "42")


def test_the_verb_knows_the_scopes_that_there_are() -> None:
    assert _SCOPES == SCOPES
