"""What reviewers did with answers, read from JSON lines and turned into training data.

{"id": "req-7", "time": "2026-11-22T10:00:00Z",
 "messages": [{"role": "user", "content": "..."}], "governance": {"state": {...} or null, "domain": "legal" or null},
 "decision": "answer", "probability": 0.12, "threshold": 0.4, "response": "...",
 "reviewed_because": "audit", "propensity": 0.05,
 "review": {"action": "edit", "decision": "answer", "response": "...", "reviewer": "ann", "time": "..."} or null}

`decision`, `response`: what the model said; in `review`, what the reviewer made of them. Every action fixes which of
the two may differ: see `ACTIONS`. `promethios/data/README.md` explains each key.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from promethios.data.example import Example, read_examples
from promethios.errors import DatasetError, TelemetryError, nearest
from promethios.ontology.decision import ESCALATE
from promethios.telemetry.header import DECISIONS
from promethios.telemetry.state import GovernanceState

ACTIONS: Final = {
    "approve": "decision and response stay as they were",
    "edit": "the decision stays, the response is another",
    "override": "the decision is another",
    "reject": "the response is wrong, and there is none instead",
}
REASONS: Final = ("escalated", "audit", "user_asked")
MAX_INVERSE: Final = 50.0
"""An audited answer stands for at most this many: a bounded variance for a small bias at audit rates below 2 %."""
REVIEWER_ERROR: Final = 0.05
"""Probability that a reviewer's decision is wrong, spread over the other three: no label of theirs is certain."""
HAND_OVER: Final = "I am handing this over to a person, who will take it from here."
"""What an escalation says when the reviewer wrote nothing."""

SUPERVISED: Final = "supervised.jsonl"
WEIGHTS: Final = "weights.json"
KTO: Final = "kto.jsonl"
DPO: Final = "dpo.jsonl"
CARD: Final = "README.md"
HASHES: Final = "FEEDBACK.sha256"
FILES: Final = (SUPERVISED, WEIGHTS, KTO, DPO, CARD)
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
    return [_Reader(line, f"{place}:{number}").record() for number, line in enumerate(lines, 1)]


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


def inverse_propensity_weights(records: Sequence[FeedbackRecord], audit_rate: float | None = None) -> list[float]:
    """Return a weight a record: the inverse of its probability of review, at most MAX_INVERSE, scaled to mean 1.

    After Horvitz & Thompson (1952), self-normalised and truncated as in Swaminathan & Joachims (2015): a sum over the
    reviewed answers stands for all answers, not for the escalated ones that are reviewed most. audit_rate: the
    propensity of audited answers whose record does not say. Escalated requests are all reviewed: 1. Nobody knows how
    likely a user was to ask: such a record stands for itself alone, 1.
    """
    inverse = [min(1.0 / _propensity(record, audit_rate), MAX_INVERSE) for record in records]
    mean = sum(inverse) / len(inverse)
    return [round(value / mean, 6) for value in inverse]


def supervised_example(record: FeedbackRecord) -> Example | None:
    """Return what the review teaches about decision and text; None when it names neither.

    Only the decision and the response are labelled: a reviewer does not judge confidence, uncertainty, bias and tool.
    """
    review = record.review
    if review is None or review.decision is None:
        return None
    text = review.response or (HAND_OVER if review.decision == DECISIONS[ESCALATE] else None)
    if text is None:
        return None
    rest = REVIEWER_ERROR / (len(DECISIONS) - 1)
    return Example(
        id=record.id,
        messages=(*record.messages, {"role": "assistant", "content": text}),
        state=record.state,
        header_domain=record.domain,
        decision=review.decision,
        escalate=int(review.decision == DECISIONS[ESCALATE]),
        soft_label=tuple(1.0 - REVIEWER_ERROR if name == review.decision else rest for name in DECISIONS),
        domain=record.domain,
        split="feedback",
    )


def kto_rows(record: FeedbackRecord) -> list[dict[str, Any]]:
    """Return rows of TRL's unpaired preference format: what was approved or written is desirable, the rest is not.

    The model's text before an edit is left out: it was not wrong, another was better, which is what `dpo_row` says.
    """
    review = record.review
    if review is None:
        return []
    rows = []
    if review.action in ("override", "reject"):
        rows.append(_row(record, record.decision, completion=record.response) | {"label": False})
    if review.decision is not None and review.response is not None:
        rows.append(_row(record, review.decision, completion=review.response) | {"label": True})
    return rows


def dpo_row(record: FeedbackRecord) -> dict[str, Any] | None:
    """Return the row of TRL's preference format that an edit gives, else None: one prompt and decision, two texts."""
    review = record.review
    if review is None or review.action != "edit":
        return None
    return _row(record, record.decision, chosen=review.response, rejected=record.response)


def feedback_contents(records: Sequence[FeedbackRecord], audit_rate: float | None = None) -> dict[str, str]:
    """Return the files of a feedback folder, name to text, from reviewed records (`latest_reviews`).

    Raises DatasetError when there are none.
    """
    if not records:
        raise DatasetError("the records hold no review: there is nothing to learn from yet")
    weights = dict(zip((record.id for record in records), inverse_propensity_weights(records, audit_rate), strict=True))
    examples = [example for record in records if (example := supervised_example(record))]
    kto = [row | {"weight": weights[record.id]} for record in records for row in kto_rows(record)]
    dpo = [row | {"weight": weights[record.id]} for record in records if (row := dpo_row(record))]
    return {
        SUPERVISED: "".join(example.to_json_line() + "\n" for example in examples),
        WEIGHTS: json.dumps({example.id: weights[example.id] for example in examples}, indent=0) + "\n",
        KTO: "".join(json.dumps(row) + "\n" for row in kto),
        DPO: "".join(json.dumps(row) + "\n" for row in dpo),
        CARD: _card(records, weights, len(examples), kto, dpo),
    }


def write_feedback(folder: Path, contents: Mapping[str, str]) -> None:
    """Write a feedback folder, FEEDBACK.sha256 last. Raises DatasetError for a folder that holds other things."""
    if folder.exists() and not (folder / HASHES).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"{folder}: is no feedback folder and not empty; name a new or an empty folder")
    hashes = "".join(f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in contents.items())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / HASHES).unlink(missing_ok=True)
        for name, text in {**contents, HASHES: hashes}.items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise DatasetError(f"{folder}: cannot write the feedback: {error.strerror or error}") from error


def feedback_sha256(folder: Path) -> str:
    """Return the identity of a feedback folder. Raises DatasetError when a file is missing or was changed."""
    path = folder / HASHES
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        raise DatasetError(f"{path}: no such file; write it with `promethios feedback export`") from None
    for line in lines:
        expected, _, name = line.partition("  ")
        file = folder / name
        if name not in FILES or not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise DatasetError(f"{file}: missing or changed since it was written; export the feedback again")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_supervised(folder: Path) -> tuple[list[Example], list[float]]:
    """Return a feedback folder's training additions and their weights. Raises DatasetError."""
    feedback_sha256(folder)
    if not (folder / SUPERVISED).read_bytes():
        return [], []
    examples = read_examples(folder / SUPERVISED)
    weights = json.loads((folder / WEIGHTS).read_text(encoding="utf-8"))
    return examples, [float(weights[example.id]) for example in examples]


def read_preferences(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the rows of KTO or DPO. Raises DatasetError when the folder is not whole or there are none."""
    feedback_sha256(folder)
    rows = [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]
    if not rows:
        raise DatasetError(
            f"{folder / name}: the reviews gave no such row; collect more feedback, or use another method"
        )
    return rows


def _propensity(record: FeedbackRecord, audit_rate: float | None) -> float:
    if record.propensity is not None:
        return record.propensity
    if record.reviewed_because != "audit":
        return 1.0
    if audit_rate is None:
        raise DatasetError(
            f"feedback {record.id!r}: an audited answer without propensity; give --audit_rate, the share of answers"
            " that was drawn for audit"
        )
    return audit_rate


def _row(record: FeedbackRecord, decision: str, **texts: str | None) -> dict[str, Any]:
    state = None if record.state is None else record.state.to_mapping()
    return {
        "prompt": [dict(message) for message in record.messages],
        **{name: [{"role": "assistant", "content": text}] for name, text in texts.items()},
        "governance": {"state": state, "domain": record.domain},
        "decision": decision,
    }


def _card(
    records: Sequence[FeedbackRecord],
    weights: Mapping[str, float],
    num_supervised: int,
    kto: Sequence[Mapping[str, Any]],
    dpo: Sequence[Mapping[str, Any]],
) -> str:
    reasons, actions = (
        Counter(record.reviewed_because for record in records),
        Counter(record.review.action for record in records if record.review),
    )
    desirable = sum(bool(row["label"]) for row in kto)
    effective = sum(weights.values()) ** 2 / sum(weight**2 for weight in weights.values())
    lines = [
        "# Reviewers' feedback",
        "",
        f"{len(records)} reviewed answers, written by `promethios feedback export`.",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| reviewed because: {name} | {reasons[name]} |" for name in REASONS),
        *(f"| {name}: {meaning} | {actions[name]} |" for name, meaning in ACTIONS.items()),
        f"| `{SUPERVISED}`: examples for training, weights in `{WEIGHTS}` | {num_supervised} |",
        f"| `{KTO}`: desirable, undesirable | {desirable}, {len(kto) - desirable} |",
        f"| `{DPO}`: edited above the model's text | {len(dpo)} |",
        f"| largest weight | {max(weights.values()):.2f} |",
        f"| reviews that as many equal ones would be worth | {effective:.1f} |",
        "",
        f"Weights are 1 / propensity, at most {MAX_INVERSE:g}, scaled to 1 on average.",
        f"A reviewer's decision is taken as right with probability {1 - REVIEWER_ERROR:g}.",
    ]
    return "\n".join(lines) + "\n"


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
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise DatasetError(
                f"{place}: not JSON ({error.msg} at column {error.colno}): {line.strip()[:40]!r}"
            ) from None
        self._fields = self._object(fields, "the line", _KEYS, _REQUIRED)

    def record(self) -> FeedbackRecord:
        fields = self._fields
        state, domain = self._governance()
        record = FeedbackRecord(
            id=self._text("id", fields["id"]),
            time=self._time("time", fields["time"]),
            messages=self._messages(),
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
                raise DatasetError(f"{self._place}: {name}: unknown key {key!r}{nearest(key, keys)}")
        for key in required:
            if key not in value:
                raise DatasetError(f"{self._place}: {name}: key {key!r} is missing")
        return value

    def _error(self, key: str, value: Any, allowed: str) -> DatasetError:
        return DatasetError(f"{self._place}: {key}={value!r:.80} is not allowed; give {allowed}")

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

    def _messages(self) -> tuple[Mapping[str, str], ...]:
        messages = self._fields["messages"]
        is_chat = isinstance(messages, list) and all(
            isinstance(m, dict) and all(isinstance(m.get(key), str) for key in ("role", "content")) for m in messages
        )
        if not is_chat or "user" not in (message["role"] for message in messages):
            raise self._error("messages", messages, "chat messages with a role and a content, among them a user's")
        return tuple(messages)

    def _governance(self) -> tuple[GovernanceState | None, str | None]:
        governance = self._object(self._fields["governance"], "governance", ("state", "domain"), ("state", "domain"))
        domain = governance["domain"]
        if domain is not None:
            domain = self._text("governance.domain", domain)
        if governance["state"] is None:
            return None, domain
        try:
            return GovernanceState.from_mapping(governance["state"]), domain
        except TelemetryError as error:
            raise DatasetError(f"{self._place}: governance.state: {error}") from None
