from __future__ import annotations

from pathlib import Path

import pytest

from promethios.data.example import Example
from promethios.telemetry.state import GovernanceState, Reading


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Twenty requests of five families; where trust is low an expert was right."""
    path = tmp_path / "questions.jsonl"
    lines = [
        Example(
            id=f"question-{index:02d}",
            messages=({"role": "user", "content": f"May I take {index} tablets?"},),
            state=GovernanceState(trust=Reading(0.2 if index % 4 == 0 else 0.9)),
            header_domain="healthcare" if index % 2 else "general",
            decision="escalate" if index % 4 == 0 else "answer",
            escalate=int(index % 4 == 0),
            family=f"family-{index % 5}",
        ).to_json_line()
        for index in range(20)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
