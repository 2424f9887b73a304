"""Records of answers and what reviewers did with them, as the hub exports them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promethios.data.feedback_records import FeedbackRecord, read_records

TIME = "2026-11-22T10:00:00Z"
LATER = "2026-11-22T12:00:00+01:00"
APPROVE = {"action": "approve", "reviewer": "ann", "time": TIME}
EDIT = {"action": "edit", "response": "Better.", "reviewer": "ann", "time": TIME}
ESCALATE = {"action": "override", "decision": "escalate", "reviewer": "ann", "time": TIME}
REJECT = {"action": "reject", "reviewer": "ann", "time": TIME}


def fields(number: int = 0, review: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"req-{number:03d}",
        "time": TIME,
        "messages": [{"role": "user", "content": "May I?"}],
        "governance": {"state": {"trust": 0.5}, "domain": "legal"},
        "decision": "answer",
        "probability": 0.1,
        "threshold": 0.4,
        "response": "You may.",
        "reviewed_because": "audit",
        "propensity": 0.1,
        "review": review,
        **changes,
    }


def read(folder: Path, *lines: Mapping[str, Any]) -> list[FeedbackRecord]:
    path = folder / "records.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_records([path])


def reviewed(folder: Path, review: Mapping[str, Any], **changes: Any) -> FeedbackRecord:
    (record,) = read(folder, fields(review=review, **changes))
    return record
