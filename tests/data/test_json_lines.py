"""What users' files have in common: ordinary shapes are read, and what cannot be used later is named with its place."""

from __future__ import annotations

import json
from typing import Any

import jinja2
import pytest

from promethios.data.json_lines import ROLES, chat_messages, governance, parse_object, shown
from promethios.errors import DatasetError
from promethios.model.tokenizer import CHAT_TEMPLATE
from promethios.telemetry.state import GovernanceState

USER = {"role": "user", "content": "May I?"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[" * 100_000 + "]" * 100_000, "t.jsonl:1: lists or objects are nested too deeply"),
        ('{"a": ' * 100_000, "t.jsonl:1: lists or objects are nested too deeply"),
        (f'{{"confidence": {"9" * 5000}}}', "t.jsonl:1: a number has more than 4300 digits"),
        ('{"a": "b \\ud800 c"}', r"t.jsonl:1: a text holds '\ud800', half of a surrogate pair"),
        ('{"a": ["\\uDFFF"]}', r"t.jsonl:1: a text holds '\udfff', half of a surrogate pair"),
        ('{"\\udc00": 1}', r"t.jsonl:1: a text holds '\udc00', half of a surrogate pair"),
        ('{"escalate": 1, "escalate": 0}', "t.jsonl:1: key 'escalate' stands twice in one object; keep one of them"),
        ('{"a": [{"b": {"c": 1, "d": 2, "c" : 1}}]}', "t.jsonl:1: key 'c' stands twice in one object"),
        ("{'a': 1}", "t.jsonl:1: not JSON (Expecting property name enclosed in double quotes at column 2)"),
        ('{"a": 1} {"a": 2}', "t.jsonl:1: not JSON (Extra data at column 10)"),
        ("[{}]", "t.jsonl:1: must be a JSON object, found list; give one JSON object a line"),
    ],
)
def test_a_line_that_cannot_be_used_is_refused_with_its_place(line: str, message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        parse_object(line, "t.jsonl:1")
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 300


def test_whole_characters_outside_the_basic_plane_are_text() -> None:
    fields = {"text": "\U0001f600", "escaped": "\\ud800"}
    assert parse_object(json.dumps(fields), "") == fields


def test_a_value_is_shown_short_however_deep_or_long_it_is() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert max(len(shown(value)) for value in (deep, "x" * 1000, 10**4000, list(range(1000)))) <= 80
    assert shown([0, 0, 0, 0, 0, 2]) == "[0, 0, 0, 0, 0, 2]"


def test_roles_are_those_that_the_chat_template_renders() -> None:
    def refuse(message: str) -> None:
        raise ValueError(message)

    template = jinja2.Environment().from_string(CHAT_TEMPLATE, {"raise_exception": refuse})
    for role in ROLES:
        assert "May I?" in template.render(messages=[{"role": role, "content": "May I?"}])
    with pytest.raises(ValueError, match=f"must be {', '.join(ROLES[:-1])} or {ROLES[-1]}"):
        template.render(messages=[{"role": "Agent", "content": "May I?"}])


def test_the_text_parts_of_a_content_are_joined() -> None:
    parts = [{"type": "text", "text": "May I?"}, {"type": "text", "text": "Both?"}]
    plain = {"role": "assistant", "content": "Yes."}
    assert chat_messages([{"role": "user", "content": parts}, plain], "") == (
        {"role": "user", "content": "May I?\nBoth?"},
        plain,
    )


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([USER, {"role": "Agent", "content": "x"}], "messages[1].role='Agent' is not allowed; give one of system, dev"),
        ([{"content": "x"}], "messages[0].role=None is not allowed; give one of system"),
        ([{"role": ["user"], "content": "x"}], "messages[0].role=['user'] is not allowed"),
        ([{"role": "user", "content": [IMAGE]}], 'give text, or a list of parts {"type": "text", "text": ...}'),
        ([{"role": "user", "content": []}], "messages[0].content=[] is not allowed; give text, or a list"),
        ([{"role": "user", "content": None}], "messages[0].content=None is not allowed; give text, or a list"),
        (
            [USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}],
            "messages[1].content=None is not allowed; give the tool calls in words, for example 'Looking up",
        ),
        ([USER, "x"], """messages[1]='x' is not allowed; give an object with "role" and "content\""""),
        ([], "messages=[] is not allowed; give chat messages"),
        (None, "messages=None is not allowed; give chat messages"),
        ([{"role": "system", "content": "x"}], "among them a user's"),
    ],
)
def test_a_message_that_cannot_be_rendered_is_named(messages: Any, message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        chat_messages(messages, "t.jsonl:1")
    assert str(caught.value).startswith("t.jsonl:1: ") and message in str(caught.value)


def test_what_governance_does_not_say_is_not_known() -> None:
    state = GovernanceState.of(trust=0.7)
    assert governance({"state": {"trust": 0.7}}, "") == (state, None)
    assert governance({"domain": "legal"}, "") == (None, "legal")
    readings = {"trust": 0.7, "verify": {"value": None, "age_s": 5}, "model": None, "emotion": {"value": None}}
    assert governance({"state": readings, "domain": None}, "") == (state, None)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, 'must be a JSON object, found NoneType; give {"state": null, "domain": null}'),
        ({"sate": None}, "unknown key 'sate'; did you mean 'state'?"),
        ({"domain": "astrology"}, "there is no domain 'astrology'; allowed: healthcare, "),
        ({"domain": ""}, "there is no domain ''; allowed: healthcare, "),
        ({"domain": ["legal"]}, "governance.domain=['legal'] is not allowed; give the name of a domain, or null"),
        ({"state": {"trsut": {"value": None}}}, "governance.state: telemetry has no channel 'trsut'; did you mean"),
        ({"state": {"trust": {"age_s": 5}}}, "governance.state: telemetry trust={'age_s': 5} is not allowed"),
        ({"state": [0.7]}, "governance.state: telemetry must be a mapping of channels, got list"),
    ],
)
def test_governance_that_means_nothing_is_refused(value: Any, message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        governance(value, "t.jsonl:1")
    assert str(caught.value).startswith("t.jsonl:1: ") and message in str(caught.value)
