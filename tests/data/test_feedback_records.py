from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from promethios.data.feedback_records import latest_reviews, read_records
from promethios.errors import DatasetError
from tests.data.reviewed_answers import APPROVE, EDIT, ESCALATE, LATER, REJECT, TIME, fields, read, reviewed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decision": "reply"}, "decision='reply' is not allowed; give one of answer, caveat, clarify, escalate"),
        ({"probability": 1.2}, "probability=1.2 is not allowed; give a number from 0 to 1"),
        ({"propensity": 0}, "propensity=0 is not allowed"),
        ({"reviewed_because": "luck"}, "give one of escalated, audit, user_asked"),
        ({"time": "2026-11-22"}, "give ISO 8601 with a time zone"),
        ({"time": 5}, "give ISO 8601 with a time zone"),
        ({"messages": [{"role": "system", "content": "x"}]}, "among them a user's"),
        ({"governance": {"state": {"trust": "high"}, "domain": None}}, "governance.state: "),
        ({"governance": None}, "governance must be a JSON object, found NoneType"),
        (
            {"governance": {"state": None, "domain": "astrology"}},
            "there is no domain 'astrology'; allowed: healthcare, ",
        ),
        (
            {"messages": [{"role": "User", "content": "x"}]},
            "messages[0].role='User' is not allowed; give one of system",
        ),
        ({"respons": "x"}, "unknown key 'respons'; did you mean 'response'?"),
        ({"review": {**APPROVE, "action": "agree"}}, "review.action='agree' is not allowed"),
        ({"review": {"action": "approve", "time": TIME}}, "review: key 'reviewer' is missing"),
    ],
)
def test_a_wrong_record_is_refused_and_the_place_is_named(
    change: Mapping[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=r"records\.jsonl:2: ") as error:
        read(tmp_path, fields(), {**fields(1), **change})
    assert message in str(error.value)


@pytest.mark.parametrize(
    "review",
    [
        {**APPROVE, "decision": "escalate"},
        {**APPROVE, "response": "Another."},
        {**EDIT, "response": "You may."},
        {**EDIT, "response": None},
        {**EDIT, "decision": "caveat"},
        {**ESCALATE, "decision": "answer"},
        {**ESCALATE, "decision": None},
        {**REJECT, "response": "Better."},
    ],
)
def test_a_review_that_contradicts_its_action_is_refused(review: Mapping[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"review.action='{review['action']}' means that"):
        reviewed(tmp_path, review)


def test_the_last_review_of_an_answer_counts_and_unreviewed_ones_are_left_out(tmp_path: Path) -> None:
    records = read(
        tmp_path,
        fields(0, {**EDIT, "time": LATER}),  # 11:00 in UTC
        fields(0),
        fields(0, APPROVE),
        fields(1),
    )
    (record,) = latest_reviews(records)
    assert record.review is not None and record.review.action == "edit"


def test_blank_lines_and_a_byte_order_mark_are_skipped_and_line_numbers_stay_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(f"\ufeff{json.dumps(fields())}\n\n{json.dumps(fields(1))}\n\n", encoding="utf-8")
    assert [record.id for record in read_records([path])] == ["req-000", "req-001"]
    path.write_text(f"\n{json.dumps(fields())}\n\n{{}}\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"records\.jsonl:4: the line: key 'id' is missing"):
        read_records([path])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        (f'{{"probability": {"1" * 5000}}}', "a number has more than 4300 digits"),
        ('{"response": "\\ud800"}', "half of a surrogate pair"),
        ('{"id": "a", "id": "b"}', "key 'id' stands twice in one object"),
    ],
)
def test_a_line_that_cannot_be_used_is_refused_and_the_place_is_named(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(DatasetError, match=rf"records\.jsonl:1: .*{message}"):
        read_records([path])


def test_records_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="'req-000': two records with this id are about different answers"):
        latest_reviews(read(tmp_path, fields(0, APPROVE), fields(0, APPROVE, response="No.")))
    with pytest.raises(DatasetError, match="approve by ann, edit by ann"):
        latest_reviews(read(tmp_path, fields(0, APPROVE), fields(0, EDIT)))
    assert len(latest_reviews(read(tmp_path, fields(0, APPROVE), fields(0, APPROVE)))) == 1
