"""What reviewers did with answers, read from JSON lines.

{"id": "req-7", "time": "2026-11-22T10:00:00Z",
 "messages": [{"role": "user", "content": "..."}], "governance": {"state": {...} or null, "domain": "legal" or null},
 "decision": "answer", "probability": 0.12, "threshold": 0.4, "response": "...",
 "reviewed_because": "audit", "propensity": 0.05,
 "review": {"action": "edit", "decision": "answer", "response": "...", "reviewer": "ann", "time": "..."} or null}

`decision`, `response`: what the model said; in `review`, what the reviewer made of them. Every action fixes which of
the two may differ: see `ACTIONS`. `promethios/data/README.md` explains each key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from promethios.data.json_lines import chat_messages, governance, numbered_lines, parse_object, shown
from promethios.errors import DatasetError, nearest
from promethios.telemetry.header import DECISIONS
from promethios.telemetry.state import GovernanceState

ACTIONS: Final = {
    "approve": "decision and response stay as they were",
    "edit": "the decision stays, the response is another",
    "override": "the decision is another",
    "reject": "the response is wrong, and there is none instead",
}
REASONS: Final = ("escalated", "audit", "user_asked")
_REQUIRED: Final = (
    "id", "time", "messages", "governance", "decision", "probability", "threshold", "response", "reviewed_because",
)  # fmt: skip
_KEYS: Final = (*_REQUIRED, "propensity", "review")
_REVIEW_KEYS: Final = ("action", "decision", "response", "reviewer", "time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What a reviewer did: one of ACTIONS, and the decision and response that should have been (None for a reject)."""

    action: str
    decision: str | None
    response: str | None
    reviewer: str
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackRecord:
    """One answer of the model and its review, None while there is none; see the module for the keys.

    propensity: probability that this request was reviewed at all, in (0, 1]; None when the record does not say.
    """

    id: str
    time: datetime
    messages: tuple[Mapping[str, str], ...]
    state: GovernanceState | None
    domain: str | None
    decision: str
    probability: float
    threshold: float
    response: str
    reviewed_because: str
    propensity: float | None
    review: Review | None


def read_records(paths: Sequence[Path]) -> list[FeedbackRecord]:
    """Read files of records. Raises DatasetError naming file, line, key, the value and what is allowed."""
    return [record for path in paths for record in _read_file(path)]


def parse_records(lines: Iterable[str], place: str) -> list[FeedbackRecord]:
    """Read records from lines; place: where they come from, for messages. Raises DatasetError, as `read_records`."""
    return [_Reader(line, f"{place}:{number}").record() for number, line in numbered_lines(lines)]


def latest_reviews(records: Iterable[FeedbackRecord]) -> list[FeedbackRecord]:
    """Return one reviewed record an id, in order of id: the one whose review is the newest.

    Raises DatasetError when records of one id are about different answers, or two newest reviews disagree.
    """
    latest: dict[str, FeedbackRecord] = {}
    for record in records:
        known = latest.setdefault(record.id, record)
        if replace(known, review=None) != replace(record, review=None):
            raise DatasetError(
                f"feedback {record.id!r}: two records with this id are about different answers; give every answer an id"
                " of its own, and repeat its record unchanged but for the review"
            )
        if record.review is None:
            continue
        if known.review is None or record.review.time > known.review.time:
            latest[record.id] = record
        elif record.review.time == known.review.time and record.review != known.review:
            raise DatasetError(
                f"feedback {record.id!r}: two different reviews at {record.review.time.isoformat()}"
                f" ({known.review.action} by {known.review.reviewer}, {record.review.action} by"
                f" {record.review.reviewer}); keep the one that counts"
            )
    return [latest[name] for name in sorted(latest) if latest[name].review is not None]


def _read_file(path: Path) -> list[FeedbackRecord]:
    try:
        with path.open(encoding="utf-8") as lines:
            return parse_records(lines, str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from None


class _Reader:
    """Takes the fields of one line by name and type."""

    def __init__(self, line: str, place: str) -> None:
        self._place = place
        self._fields = self._object(parse_object(line, place), "the line", _KEYS, _REQUIRED)

    def record(self) -> FeedbackRecord:
        fields = self._fields
        state, domain = governance(fields["governance"], self._place)
        record = FeedbackRecord(
            id=self._text("id", fields["id"]),
            time=self._time("time", fields["time"]),
            messages=chat_messages(fields["messages"], self._place),
            state=state,
            domain=domain,
            decision=self._one_of("decision", fields["decision"], DECISIONS),
            probability=self._probability("probability"),
            threshold=self._probability("threshold"),
            response=self._text("response", fields["response"]),
            reviewed_because=self._one_of("reviewed_because", fields["reviewed_because"], REASONS),
            propensity=None if fields.get("propensity") is None else self._probability("propensity"),
            review=None,
        )
        if record.propensity == 0:
            raise self._error("propensity", 0, "a probability above 0: what cannot be reviewed has no review")
        return record if fields.get("review") is None else replace(record, review=self._review(record))

    def _review(self, record: FeedbackRecord) -> Review:
        fields = self._object(self._fields["review"], "review", _REVIEW_KEYS, ("action", "reviewer", "time"))
        action = self._one_of("review.action", fields["action"], ACTIONS)
        decision, response = fields.get("decision"), fields.get("response")
        if decision is not None:
            self._one_of("review.decision", decision, DECISIONS)
        if response is not None:
            self._text("review.response", response)
        if action in ("approve", "edit"):
            decision = decision or record.decision
        if action == "approve":
            response = response or record.response
        self._require_consistent(record, action, decision, response)
        return Review(
            action=action,
            decision=decision,
            response=response,
            reviewer=self._text("review.reviewer", fields["reviewer"]),
            time=self._time("review.time", fields["time"]),
        )

    def _require_consistent(
        self, record: FeedbackRecord, action: str, decision: str | None, response: str | None
    ) -> None:
        same_decision, same_response = decision == record.decision, response == record.response
        consistent = {
            "approve": same_decision and same_response,
            "edit": same_decision and response is not None and not same_response,
            "override": decision is not None and not same_decision,
            "reject": decision is None and response is None,
        }[action]
        if not consistent:
            raise DatasetError(
                f"{self._place}: review.action={action!r} means that {ACTIONS[action]}; the model's decision is"
                f" {record.decision!r}, review.decision is {decision!r} and review.response is"
                f" {'missing' if response is None else 'the same' if same_response else 'another'}"
            )

    def _object(self, value: Any, name: str, keys: Sequence[str], required: Sequence[str]) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise DatasetError(f"{self._place}: {name} must be a JSON object, found {type(value).__name__}")
        for key in value:
            if key not in keys:
                raise DatasetError(f"{self._place}: {name}: unknown key {shown(key)}{nearest(key, keys)}")
        for key in required:
            if key not in value:
                raise DatasetError(f"{self._place}: {name}: key {key!r} is missing")
        return value

    def _error(self, key: str, value: Any, allowed: str) -> DatasetError:
        return DatasetError(f"{self._place}: {key}={shown(value)} is not allowed; give {allowed}")

    def _text(self, key: str, value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self._error(key, value, "text")
        return value

    def _one_of(self, key: str, value: Any, allowed: Iterable[str]) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise self._error(key, value, f"one of {', '.join(allowed)}")
        return value

    def _probability(self, key: str) -> float:
        value = self._fields[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise self._error(key, value, "a number from 0 to 1")
        return float(value)

    def _time(self, key: str, value: Any) -> datetime:
        try:
            time = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            time = None
        if time is None or time.tzinfo is None:
            raise self._error(key, value, 'ISO 8601 with a time zone, for example "2026-11-22T10:00:00Z"')
        return time
