from __future__ import annotations

import json
from pathlib import Path

import pytest

from promethios.feedback import main

TIME = "2026-11-22T10:00:00Z"
APPROVE = {"action": "approve", "reviewer": "ann", "time": TIME}
EDIT = {"action": "edit", "response": "Better.", "reviewer": "ann", "time": TIME}


def record(
    number: int, review: dict[str, str] | None = None, propensity: float | None = 0.1, domain: str = "legal"
) -> str:
    return json.dumps(
        {
            "id": f"req-{number}",
            "time": TIME,
            "messages": [{"role": "user", "content": "May I?"}],
            "governance": {"state": None, "domain": domain},
            **{"decision": "answer", "probability": 0.1, "threshold": 0.4, "response": "You may."},
            **{"reviewed_because": "audit", "propensity": propensity, "review": review},
        }
    )


def test_records_become_a_feedback_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    files[0].write_text(record(0, APPROVE) + "\n" + record(1) + "\n")
    files[1].write_text(record(2, EDIT, propensity=None) + "\n")
    folder = tmp_path / "feedback"
    command = ["export", "--records", *map(str, files), "--output_dir", str(folder), "--audit_rate", "0.1"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "3 records, 2 reviewed answers: 2 in supervised.jsonl, 2 in kto.jsonl, 1 in dpo.jsonl" in said
    card = (folder / "README.md").read_text()
    assert "| reviewed because: audit | 2 |" in card and "| `dpo.jsonl`: edited above the model's text | 1 |" in card


def test_an_impossible_audit_rate_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = tmp_path / "a.jsonl"
    records.write_text(record(0, APPROVE) + "\n")
    code = main(["export", "--records", str(records), "--output_dir", str(tmp_path / "f"), "--audit_rate", "0"])
    assert code == 2
    assert capsys.readouterr().err == "error: --audit_rate 0.0: give a share above 0 and up to 1\n"


def test_a_domain_that_the_ontology_does_not_know_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = tmp_path / "a.jsonl"
    records.write_text(record(0, APPROVE) + "\n" + record(1, APPROVE, domain="helthcare") + "\n")
    assert main(["export", "--records", str(records), "--output_dir", str(tmp_path / "f")]) == 2
    assert f"{records}:2: there is no domain 'helthcare'; did you mean 'healthcare'?" in capsys.readouterr().err
    assert not (tmp_path / "f").exists()
