"""One line of a dataset: what is written is read back, and a bad line is named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from promethios.data.example import Example, read_examples
from promethios.errors import DatasetError


def test_a_line_reads_back_as_the_same_example(dataset: Mapping[str, list[Example]], tmp_path: Path) -> None:
    path = tmp_path / "copy.jsonl"
    path.write_text("".join(f"{example.to_json_line()}\n" for example in dataset["test"]), encoding="utf-8")
    assert read_examples(path) == dataset["test"]


def test_prompt_and_response_are_the_two_ends_of_the_conversation(fields: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(fields), encoding="utf-8")
    example = read_examples(path)[0]
    assert example.prompt == fields["messages"][0]["content"]
    assert example.response == fields["messages"][-1]["content"]


def put(key: str, value: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda fields: {**fields, key: value}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (put("decison", "answer"), "unknown key 'decison'; did you mean 'decision'?"),
        (lambda fields: {key: value for key, value in fields.items() if key != "norms"}, "key 'norms' is missing"),
        (put("decision", "maybe"), "decision='maybe' is not allowed; give one of answer, caveat, clarify, escalate"),
        (put("escalate", True), "escalate=True is not allowed; give one of 0, 1"),
        (put("soft_label", [0.5, 0.5, 0.5, 0.5]), "soft_label"),
        (put("soft_label", [1.0]), "a list of 4 numbers from 0 to 1"),
        (put("bias", [0, 0, 0, 0, 0, 2]), "bias"),
        (put("confidence", None), "confidence=None is not allowed"),
        (put("norms", "fairness"), "norms='fairness' is not allowed; give a list of texts"),
        (put("family", ""), "family='' is not allowed; give text"),
        (put("messages", []), "messages"),
        (put("messages", [{"role": "user", "content": "Hi"}]), "the last one the assistant's"),
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


@pytest.mark.parametrize("line", ['{"id": "cut of', "", "[1, 2]", "null"])
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
