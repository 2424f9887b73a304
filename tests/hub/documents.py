"""Documents as engines send them, numbered, so that each is another and the same one is the same again."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any, Final

_DOMAINS: Final = ("healthcare", "legal", "finance", None)
_WORDS: Final = (
    *("patient", "contract", "dose", "invoice", "warfarin", "landlord", "dividend", "fever", "clause", "refund"),
    *(
        "pregnancy",
        "notice",
        "pension",
        "allergy",
        "deposit",
        "insulin",
        "warranty",
        "mortgage",
        "fracture",
        "eviction",
    ),
    *("salary", "antibiotic", "liability", "broker", "migraine", "custody", "tax", "vaccine", "tenant", "premium"),
)


def review_record(
    number: int, *, response: str | None = "A person will take it from here.", **more: Any
) -> dict[str, Any]:
    """Return the record of one decision; an escalation, or an audited answer every fourth time."""
    audited = number % 4 == 3
    draw = random.Random(number)
    words = " ".join(draw.choices(_WORDS, k=12))
    record = {
        "id": f"gov-{number:012d}",
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "messages": [
            {"role": "system", "content": "You are a careful assistant."},
            {"role": "user", "content": f"Question {number}: what should I know about {words}? " + "Please say. " * 40},
        ],
        "governance": {"state": None, "domain": _DOMAINS[number % 4]},
        "decision": "answer" if audited else "escalate",
        "probability": 0.1 if audited else 0.8,
        "threshold": 0.4,
        "response": response,
        "reviewed_because": "audit" if audited else "escalated",
        "propensity": 0.02 if audited else 1.0,
        "tenant": None,
        "subject": {"tenant": None, "agent": "triage", "session": f"s-{number % 1000}"},
        "request_id": f"req-{number}",
        "engine": "engine-0",
        "model": {"name": "promethios", "weights_sha256": "a" * 64, "certificate_sha256": "b" * 64},
        "uncertainty": {"unknown_answer": 0.7, "stale": 0.2},
        "probabilities": {"answer": 0.1, "caveat": 0.05, "clarify": 0.05, "escalate": 0.8},
        "principles": None,
        "experiment": None,
    }
    return {**record, **more}
