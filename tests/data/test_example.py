"""One line of a dataset: what is written is read back, and a bad line is named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from promethios.data.example import Example, Labels, Pair, read_examples
from promethios.errors import DatasetError


def test_a_line_reads_back_as_the_same_example(dataset: Mapping[str, list[Example]], tmp_path: Path) -> None:
    path = tmp_path / "copy.jsonl"
    path.write_text("".join(f"{example.to_json_line()}\n" for example in dataset["test"]), encoding="utf-8")
    assert read_examples(path) == dataset["test"]


def write(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def foreign() -> dict[str, Any]:
    """The least that a line may hold."""
    return {
        "messages": [{"role": "user", "content": "Is it safe?"}],
        "governance": {"state": {"trust": 0.7, "model": {"value": "SPLIT", "age_s": 400}}, "domain": "healthcare"},
        "escalate": 1,
    }


def test_a_file_of_somebody_else_needs_a_request_telemetry_and_what_was_right(
    foreign: dict[str, Any], tmp_path: Path
) -> None:
    (example,) = read_examples(write(tmp_path / "theirs.jsonl", foreign))
    assert (example.id, example.prompt, example.response) == ("theirs-00001", "Is it safe?", "")
    assert example.request == example.messages
    assert example.state is not None
    assert example.state.degraded_channels() == (
        "verify", "attest", "bound", "intensity", "emotion", "decision", "model",
    )  # fmt: skip
    assert example.header_domain == example.domain == "healthcare"
    assert (example.escalate, example.decision, example.truth) == (1, None, True)
    assert (example.soft_label, example.uncertainty, example.bias, example.norms) == ((), (), (), ())
    assert (example.family, example.pair, example.tool_state, example.split) == (None, None, None, None)


def test_a_decision_is_enough_to_know_what_was_right(foreign: dict[str, Any], tmp_path: Path) -> None:
    del foreign["escalate"]
    lines = [{**foreign, "decision": decision} for decision in ("answer", "caveat", "clarify", "escalate")]
    assert [example.truth for example in read_examples(write(tmp_path / "t.jsonl", *lines))] == [False] * 3 + [True]


def test_the_outcome_comes_before_the_decision(foreign: dict[str, Any], tmp_path: Path) -> None:
    (example,) = read_examples(write(tmp_path / "t.jsonl", {**foreign, "escalate": 0, "decision": "escalate"}))
    assert not example.truth


def test_null_is_the_same_as_not_given(foreign: dict[str, Any], tmp_path: Path) -> None:
    nulls = dict.fromkeys(
        ("id", "decision", "behaviour", "soft_label", "confidence", "uncertainty", "tool", "norms", "pair", "split")
    )
    one, other = read_examples(write(tmp_path / "t.jsonl", foreign, {**foreign, **nulls, "id": "t-00001"}))
    assert one == other


def test_what_was_read_from_a_short_line_is_written_in_full_and_read_again(
    foreign: dict[str, Any], tmp_path: Path, fields: dict[str, Any]
) -> None:
    (example,) = read_examples(write(tmp_path / "t.jsonl", foreign))
    again = json.loads(example.to_json_line())
    assert list(again) == list(fields)
    assert read_examples(write(tmp_path / "again.jsonl", again)) == [example]


def test_a_generated_example_has_the_labels_that_training_needs(dataset: Mapping[str, list[Example]]) -> None:
    for example in dataset["train"][:100]:
        labels = example.labels()
        assert labels.response == example.response
        assert labels.soft_label == example.soft_label
        assert labels.tool == example.tool


@pytest.mark.parametrize("name", [name for name in Labels._fields if name != "response"])
def test_training_names_what_is_missing(fields: dict[str, Any], tmp_path: Path, name: str) -> None:
    (example,) = read_examples(write(tmp_path / "t.jsonl", {**fields, name: None, "id": "theirs-1", "escalate": 0}))
    with pytest.raises(DatasetError, match=f"example theirs-1: {name} is missing; training needs response, decision"):
        example.labels()


def test_training_needs_a_response(fields: dict[str, Any], tmp_path: Path) -> None:
    (example,) = read_examples(write(tmp_path / "t.jsonl", {**fields, "messages": fields["messages"][:1]}))
    with pytest.raises(DatasetError, match="response is missing"):
        example.labels()


def test_the_members_of_a_pair_name_it(dataset: Mapping[str, list[Example]]) -> None:
    assert dataset["conflict_pairs"][0].pair == Pair("conflict-00001", "stale_channel", "a")
    assert dataset["conflict_pairs"][-1].pair == Pair("conflict-01000", "text_cue", "b")


def test_prompt_and_response_are_the_two_ends_of_the_conversation(fields: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(fields), encoding="utf-8")
    example = read_examples(path)[0]
    assert example.prompt == fields["messages"][0]["content"]
    assert example.response == fields["messages"][-1]["content"]


def test_blank_lines_and_a_byte_order_mark_are_skipped_and_line_numbers_stay_those_of_the_file(
    foreign: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "t.jsonl"
    line = json.dumps(foreign)
    path.write_text(f"\ufeff{line}\n\n  \t\n{line}\n\n", encoding="utf-8", newline="\r\n")
    assert [example.id for example in read_examples(path)] == ["t-00001", "t-00004"]
    path.write_text(f"\ufeff\n\n{line}\n{{}}\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=re.escape(f"{path}:4: key 'messages' is missing; give a list such as")):
        read_examples(path)
    path.write_text("\ufeff\n \n", encoding="utf-8")
    with pytest.raises(DatasetError, match="the file is empty"):
        read_examples(path)


def test_whole_numbers_name_example_family_and_pair_and_metadata_is_ignored(
    foreign: dict[str, Any], tmp_path: Path
) -> None:
    named = {"id": 7, "family": 3, "pair": {"id": 1, "kind": "spoof", "member": "a"}, "escalate": 1.0}
    more = {"metadata": {"source": ["anything", None], "decison": 1}}
    (example,) = read_examples(write(tmp_path / "t.jsonl", {**foreign, **named, **more}))
    assert (example.id, example.family, example.pair) == ("7", "3", Pair("1", "spoof", "a"))
    assert type(example.escalate) is int


@pytest.mark.parametrize("key", ["id", "family"])
@pytest.mark.parametrize("value", [True, 1.5, ["x"]])
def test_a_name_is_text_or_a_whole_number(foreign: dict[str, Any], tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(DatasetError, match=re.escape(f"{key}={value!r} is not allowed; give text")):
        read_examples(write(tmp_path / "t.jsonl", {**foreign, key: value}))


def put(key: str, value: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda fields: {**fields, key: value}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (put("decison", "answer"), "unknown key 'decison'; did you mean 'decision'?"),
        (
            lambda fields: {k: v for k, v in fields.items() if k != "governance"},
            """key 'governance' is missing; give {"state": null, "domain": null} for a request without telemetry""",
        ),
        (lambda fields: {**fields, "escalate": None, "decision": None}, "give 'escalate' (0 or 1) or 'decision'"),
        (put("tool_state", "broken"), "tool_state='broken' is not allowed; give one of none, needed, fine, unreliable"),
        (put("pair", {"id": "x", "kind": "stale", "member": "a"}), "a kind of stale_channel, text_cue, spoof, bias"),
        (put("pair", {"id": "x"}), 'an object with "id", "kind" and "member", or null'),
        (put("self_questions", "Is it given?"), "a list of texts"),
        (put("evidence", "stale"), "a list of objects"),
        (put("evidence", [{"message": 0, "end": 1}]), "a list of objects"),
        (put("evidence", [{"message": 9, "end": 1, "shows": "stale"}]), "the number of one, from 0"),
        (put("evidence", [{"message": 0, "end": 9999, "shows": "stale"}]), "a character of its content"),
        (put("evidence", [{"message": 0, "end": 1, "shows": "anger"}]), "one of nothing, unknown_answer"),
        (put("evidence", [{"message": 0.0, "end": 1, "shows": "stale"}]), "the number of one, from 0"),
        (put("evidence", [{"message": False, "end": True, "shows": "stale"}]), "the number of one, from 0"),
        (put("pair", {"id": 1.5, "kind": "spoof", "member": "a"}), "an id that is text"),
        (put("domain", "helthcare"), "there is no domain 'helthcare'; did you mean 'healthcare'?"),
        (put("metdata", {}), "unknown key 'metdata'; did you mean 'metadata'?"),
        (put("decision", "maybe"), "decision='maybe' is not allowed; give one of answer, caveat, clarify, escalate"),
        (put("escalate", True), "escalate=True is not allowed; give one of 0, 1"),
        (put("soft_label", [0.5, 0.5, 0.5, 0.5]), "soft_label"),
        (put("soft_label", [1.0]), "a list of 4 numbers from 0 to 1"),
        (put("bias", [0, 0, 0, 0, 0, 2]), "bias"),
        (put("confidence", "high"), "confidence='high' is not allowed; give numbers from 0 to 1"),
        (put("norms", "fairness"), "norms='fairness' is not allowed; give a list of texts"),
        (put("family", ""), "family='' is not allowed; give text"),
        (put("messages", []), "messages"),
        (put("messages", [{"role": "assistant", "content": "Hi"}]), "among them a user's"),
        (put("messages", "Hi"), "messages"),
        (put("governance", None), "governance"),
        (put("governance", {"state": {"trust": "high"}, "domain": None}), "governance.state: telemetry trust='high'"),
        (put("governance", {"state": {"trsut": 0.5}, "domain": None}), "did you mean 'trust'?"),
        (put("governance", {"state": None, "domain": 3}), "the name of a domain, or null"),
    ],
)
def test_a_bad_line_is_named_with_file_and_number(
    fields: dict[str, Any], tmp_path: Path, spoil: Callable[[dict[str, Any]], dict[str, Any]], message: str
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(f"{json.dumps(fields)}\n{json.dumps(spoil(fields))}\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=re.escape(message)) as caught:
        read_examples(path)
    assert str(caught.value).startswith(f"{path}:2: ")


@pytest.mark.parametrize("line", ['{"id": "cut of', "{", "[1, 2]", "null"])
def test_a_corrupt_line_is_named_with_file_and_number(fields: dict[str, Any], tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(f"{json.dumps(fields)}\n{json.dumps(fields)}\n{line}\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=re.escape(f"{path}:3: ")):
        read_examples(path)


def test_a_missing_file_says_how_to_write_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="promethios generate"):
        read_examples(tmp_path / "train.jsonl")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe"])
def test_an_empty_or_binary_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=re.escape(str(path))):
        read_examples(path)
