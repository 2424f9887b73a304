from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promethios.errors import TelemetryError
from promethios.telemetry.state import CHANNELS, GovernanceState, Reading
from promethios.telemetry.tags import MAX_TEXT, TAG_TEXT, parse, parse_assignments, render

SEED_TEXT = (
    "<gov:trust=0.72><gov:emotion=FOCUSED><gov:intensity=0.8>\n"
    "<gov:verify=0.85><gov:attest=0.90><gov:bound=0.75>\n"
    "<gov:decision=PENDING><gov:model=CONSENSUS>\n"
)
FRAGMENTS = [
    "<gov:",
    "</gov:",
    ">",
    "=",
    ";age=",
    "trust",
    "emotion",
    "FOCUSED",
    "0.5",
    "-1",
    "1e9",
    " ",
    "\n",
    "\x00",
    "é",
]
NEARLY_TAGS = st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join)


@given(st.from_type(GovernanceState))
def test_what_is_rendered_parses_back_equal(state: GovernanceState) -> None:
    assert parse(render(state)) == state
    assert parse(render(state).encode()) == state


@given(st.from_type(GovernanceState))
def test_the_short_form_parses_to_the_same_state(state: GovernanceState) -> None:
    short = render(state).replace("><", ",").removeprefix("<").removesuffix(">").replace("gov:", "")
    assert parse_assignments(short) == state


@given(st.from_type(GovernanceState))
def test_the_redactor_recognises_every_rendered_tag(state: GovernanceState) -> None:
    assert TAG_TEXT.sub("", render(state)) == ""


@given(st.binary() | st.text() | NEARLY_TAGS | NEARLY_TAGS.map(str.encode))
def test_any_text_is_accepted_whole_or_refused_whole(text: str | bytes) -> None:
    try:
        state = parse(text)
    except TelemetryError:
        return
    assert parse(render(state)) == state
    # Accepted whole: there is one reading for each thing in the text that looks like a tag.
    plain = text.decode() if isinstance(text, bytes) else text
    assert plain.count("<") == sum(reading is not None for _, reading in state)


@given(NEARLY_TAGS | st.text())
def test_any_short_form_is_accepted_whole_or_refused_whole(text: str) -> None:
    try:
        state = parse_assignments(text)
    except TelemetryError:
        return
    assert parse(render(state)) == state
    assert sum(bool(part.strip()) for part in text.split(",")) == sum(reading is not None for _, reading in state)


def test_the_seeds_example_parses() -> None:
    assert parse(SEED_TEXT) == GovernanceState.of(
        trust=0.72, emotion="FOCUSED", intensity=0.8, verify=0.85, attest=0.9, bound=0.75, decision="PENDING",
        model="CONSENSUS",
    )  # fmt: skip


def test_an_age_belongs_to_its_tag() -> None:
    state = parse("<gov:trust=0.72;age=12.5><gov:verify=1>")
    assert state.trust == Reading(0.72, 12.5)
    assert state.verify == Reading(1.0)


def test_empty_text_is_a_state_without_a_reading() -> None:
    assert parse(" \n") == GovernanceState()


def test_numbers_are_clamped_and_put_on_the_grid() -> None:
    assert parse("<gov:trust=1.7><gov:verify=-3><gov:attest=0.123456>") == GovernanceState.of(
        trust=1, verify=0, attest=0.12
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<gov:trust=0.1><gov:trust=0.1>", "'trust' is given twice"),
        ("<gov:trsut=0.1>", "no channel 'trsut'; did you mean 'trust'?"),
        ("<gov:zzz=0.1>", "no channel 'zzz'; allowed: trust, verify"),
        ("<gov:trust=high>", "trust='high' is not allowed: give a number"),
        ("<gov:trust=1e3>", "trust='1e3' is not allowed: give a number"),
        ("<gov:trust=nan>", "trust='nan' is not allowed: give a number"),
        ("<gov:emotion=focused>", "emotion='focused' is not allowed: one of FOCUSED, CALM"),
        ("<gov:trust=0.1;age=-3>", "must read name=value or name=value;age=seconds"),
        ("<gov:trust = 0.1>", "must read name=value"),
        ("<gov:trust=0.1> and <gov:verify=1>", "at character 16, found 'and <gov:verify=1>'"),
        ("<GOV:trust=0.1>", "at character 0"),
        ("<gov:trust=0.1", "at character 0"),
        ("x" * (MAX_TEXT + 1), f"of {MAX_TEXT + 1} characters; at most {MAX_TEXT}"),
    ],
)
def test_malformed_text_is_refused_with_its_place_and_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(TelemetryError) as caught:
        parse(text)
    assert message in str(caught.value)


def test_bytes_that_are_not_ascii_are_refused_with_their_position() -> None:
    with pytest.raises(TelemetryError, match="byte 3 is not"):
        parse(b"<go\xff")


def test_the_longest_canonical_text_is_accepted() -> None:
    oldest = {c.name: Reading(max(c.values, key=len) if c.values else 0.55, 999_999_998.123) for c in CHANNELS}
    state = GovernanceState(**oldest)
    assert len(render(state)) < MAX_TEXT
    assert parse(render(state)) == state
