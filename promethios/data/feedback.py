"""What reviewers' records teach: training additions with their weights, and preferences, in one folder.

supervised.jsonl, weights.json   examples for `promethios train --feedback_dir`
kto.jsonl, dpo.jsonl             preferences for `promethios align --feedback_dir`
README.md, FEEDBACK.sha256       what it holds, and the folder's identity
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from promethios.data.example import Example, read_examples
from promethios.data.feedback_records import ACTIONS, REASONS, FeedbackRecord
from promethios.errors import DatasetError
from promethios.ontology.decision import ESCALATE
from promethios.telemetry.header import DECISIONS

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
