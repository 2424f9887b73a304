from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from promethios.data.example import read_examples
from promethios.data.feedback import (
    DPO,
    HAND_OVER,
    KTO,
    MAX_INVERSE,
    SUPERVISED,
    dpo_row,
    feedback_contents,
    feedback_sha256,
    inverse_propensity_weights,
    kto_rows,
    read_preferences,
    read_supervised,
    supervised_example,
    write_feedback,
)
from promethios.data.feedback_records import latest_reviews
from promethios.errors import DatasetError
from tests.data.reviewed_answers import APPROVE, EDIT, ESCALATE, REJECT, fields, read, reviewed


def test_weights_undo_the_selection_of_what_is_reviewed(tmp_path: Path) -> None:
    # Of 100 answers 10 % are wrong; audits see a tenth of them, escalations all: the naive share is far too high.
    audited = [fields(i, APPROVE if i else ESCALATE) for i in range(10)]
    escalated = [
        fields(10 + i, {**APPROVE}, decision="escalate", reviewed_because="escalated", propensity=1.0)
        for i in range(100)
    ]
    records = latest_reviews(read(tmp_path, *audited, *escalated))
    weights = inverse_propensity_weights(records)
    assert sum(weights) / len(weights) == pytest.approx(1.0)
    wrong = sum(w for w, r in zip(weights, records, strict=True) if r.review and r.review.action == "override")
    assert wrong / sum(weights) == pytest.approx(10 / 200)  # 10 of 100 answers and 100 escalations


def test_a_tiny_propensity_is_cut_and_a_missing_one_needs_the_audit_rate(tmp_path: Path) -> None:
    rare, sure = fields(0, APPROVE, propensity=1e-6), fields(1, APPROVE, propensity=1.0)
    weights = inverse_propensity_weights(read(tmp_path, rare, sure))
    assert weights[0] / weights[1] == pytest.approx(MAX_INVERSE, rel=1e-3)
    unknown = read(tmp_path, fields(0, APPROVE, propensity=None), sure)
    assert inverse_propensity_weights(unknown, 0.5) == pytest.approx([4 / 3, 2 / 3], abs=1e-6)
    with pytest.raises(DatasetError, match="give --audit_rate"):
        inverse_propensity_weights(unknown)
    asked = read(tmp_path, fields(0, APPROVE, propensity=None, reviewed_because="user_asked"), sure)
    assert inverse_propensity_weights(asked) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("review", "decision", "response"),
    [
        (APPROVE, "answer", "You may."),
        (EDIT, "answer", "Better."),
        (ESCALATE, "escalate", HAND_OVER),
        ({**ESCALATE, "response": "Ann will call."}, "escalate", "Ann will call."),
        ({**ESCALATE, "decision": "caveat", "response": "Perhaps."}, "caveat", "Perhaps."),
    ],
)
def test_a_review_teaches_its_decision_and_text(
    review: Mapping[str, Any], decision: str, response: str, tmp_path: Path
) -> None:
    example = supervised_example(reviewed(tmp_path, review))
    assert example is not None
    assert (example.decision, example.response) == (decision, response)
    assert max(example.soft_label) == pytest.approx(0.95) and sum(example.soft_label) == pytest.approx(1.0)
    assert example.confidence is None and example.uncertainty == ()  # nobody judged them


@pytest.mark.parametrize("review", [REJECT, {**ESCALATE, "decision": "caveat"}])
def test_without_a_text_there_is_nothing_to_imitate(review: Mapping[str, Any], tmp_path: Path) -> None:
    record = reviewed(tmp_path, review)
    assert supervised_example(record) is None
    assert [row["label"] for row in kto_rows(record)] == [False]


def test_preferences_are_rows_of_trl_with_governance(tmp_path: Path) -> None:
    edited = reviewed(tmp_path, EDIT)
    row = dpo_row(edited)
    assert row == {
        "prompt": [{"role": "user", "content": "May I?"}],
        "chosen": [{"role": "assistant", "content": "Better."}],
        "rejected": [{"role": "assistant", "content": "You may."}],
        "governance": {"state": {"trust": 0.5}, "domain": "legal"},
        "decision": "answer",
    }
    overridden = reviewed(tmp_path, {**ESCALATE, "response": "Ann will call."})
    assert dpo_row(overridden) is None  # the two texts follow different decisions
    assert [(r["decision"], r["completion"][0]["content"], r["label"]) for r in kto_rows(overridden)] == [
        ("answer", "You may.", False),
        ("escalate", "Ann will call.", True),
    ]
    assert [row["label"] for row in kto_rows(edited)] == [True]


def test_a_written_folder_is_read_back_and_a_changed_one_is_refused(tmp_path: Path) -> None:
    records = latest_reviews(read(tmp_path, fields(0, EDIT), fields(1, ESCALATE, propensity=1.0), fields(2, REJECT)))
    folder = tmp_path / "feedback"
    write_feedback(folder, feedback_contents(records))
    examples, weights = read_supervised(folder)
    assert examples == read_examples(folder / SUPERVISED)
    assert [example.id for example in examples] == ["req-000", "req-001"]
    assert weights[0] / weights[1] == pytest.approx(10.0, rel=1e-4)
    assert [row["weight"] for row in read_preferences(folder, DPO)] == [weights[0]]
    assert len(read_preferences(folder, KTO)) == 3
    identity = feedback_sha256(folder)
    write_feedback(folder, feedback_contents(records))  # the same again
    assert feedback_sha256(folder) == identity
    (folder / KTO).write_text("")
    with pytest.raises(DatasetError, match=r"kto\.jsonl: missing or changed"):
        read_supervised(folder)


def test_feedback_is_written_only_where_nothing_else_is(tmp_path: Path) -> None:
    records = latest_reviews(read(tmp_path, fields(0, REJECT)))
    with pytest.raises(DatasetError, match="not empty"):
        write_feedback(tmp_path, feedback_contents(records))
    write_feedback(tmp_path / "new", feedback_contents(records))
    assert read_supervised(tmp_path / "new") == ([], [])
    with pytest.raises(DatasetError, match=r"dpo\.jsonl: the reviews gave no such row"):
        read_preferences(tmp_path / "new", DPO)
    with pytest.raises(DatasetError, match="no review"):
        feedback_contents([])
