from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promethios.errors import TelemetryError
from promethios.telemetry.state import (
    CHANNEL_BY_NAME,
    CHANNELS,
    COMPETENCE_CHANNELS,
    MAX_AGE_S,
    MAX_STALE_LEVEL,
    GovernanceState,
    Reading,
    quantise,
    stale_level,
)
from promethios.telemetry.tags import parse, render

NOW = 1_700_000_000.0
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text() | st.datetimes(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["value", "age_s", "at"]) | st.text(), inner),
    max_leaves=6,
)
KEYS = st.sampled_from([channel.name for channel in CHANNELS]) | st.text()


@given(st.from_type(GovernanceState))
def test_plain_data_turns_back_into_an_equal_state(state: GovernanceState) -> None:
    assert GovernanceState.from_mapping(json.loads(json.dumps(state.to_mapping()))) == state


@given(st.dictionaries(KEYS, JSON_VALUES, max_size=4), st.none() | st.just(NOW))
def test_any_plain_data_is_accepted_whole_or_refused_whole(data: dict[str, Any], now: float | None) -> None:
    try:
        state = GovernanceState.from_mapping(data, now=now)
    except TelemetryError:
        return
    assert parse(render(state)) == state
    assert {c.name for c, reading in state if reading} == {name for name, raw in data.items() if raw is not None}


@pytest.mark.parametrize("data", [None, 3, "trust=1", ["trust"], b"{}"])
def test_what_is_not_a_mapping_is_refused(data: Any) -> None:
    with pytest.raises(TelemetryError, match="must be a mapping of channels"):
        GovernanceState.from_mapping(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"trsut": 0.5}, "no channel 'trsut'; did you mean 'trust'?"),
        ({3: 0.5}, "no channel 3"),
        ({"trust": "0.5"}, "trust='0.5' is not allowed: give a number"),
        ({"trust": True}, "trust=True is not allowed"),
        ({"trust": math.nan}, "trust=nan is not allowed"),
        ({"trust": math.inf}, "trust=inf is not allowed"),
        ({"emotion": "HAPPY"}, "emotion='HAPPY' is not allowed: one of FOCUSED"),
        ({"emotion": ["FOCUSED"]}, "emotion=['FOCUSED'] is not allowed"),
        ({"trust": {"age_s": 3}}, "give `value`"),
        ({"trust": {"value": 0.5, "ages": 3}}, "give `value`"),
        ({"trust": {"value": 0.5, "age_s": 3, "at": NOW}}, "at most one of"),
        ({"trust": {"value": 0.5, "age_s": -1}}, "age -1 must be a finite number of seconds"),
        ({"trust": {"value": 0.5, "age_s": "3"}}, "age '3' must be"),
        ({"trust": {"value": 0.5, "at": NOW + 6}}, "lies 6 s in the future"),
        ({"trust": {"value": 0.5, "at": math.nan}}, "`at` nan must be Unix seconds or ISO 8601"),
        ({"trust": {"value": 0.5, "at": "yesterday"}}, "`at` 'yesterday' must be"),
        ({"trust": {"value": 0.5, "at": "2023-11-14T22:13:20"}}, "has no time zone"),
        ({"trust": {"value": 0.5, "at": date(2023, 11, 14)}}, "must be Unix seconds or ISO 8601"),
    ],
)
def test_wrong_plain_data_is_refused_naming_key_value_and_what_is_allowed(data: Any, message: str) -> None:
    with pytest.raises(TelemetryError) as caught:
        GovernanceState.from_mapping(data, now=NOW)
    assert message in str(caught.value)


def test_a_message_stays_short_whatever_was_sent() -> None:
    nested: Any = "x" * 100_000
    for _ in range(500):
        nested = [nested]
    for data in ({"trust": nested}, {"emotion": {"value": "x" * 100_000}}, {"x" * 100_000: 1}):
        with pytest.raises(TelemetryError) as caught:
            GovernanceState.from_mapping(data)
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "at",
    [
        NOW - 30,
        int(NOW) - 30,
        "2023-11-14T22:12:50Z",
        "2023-11-14T23:12:50+01:00",
        datetime.fromtimestamp(NOW - 30, UTC),
    ],
)
def test_the_time_of_a_reading_becomes_its_age(at: Any) -> None:
    state = GovernanceState.from_mapping({"trust": {"value": 0.5, "at": at}}, now=NOW)
    assert state.trust == Reading(0.5, 30.0)


def test_a_reading_from_a_clock_slightly_ahead_is_fresh() -> None:
    state = GovernanceState.from_mapping({"trust": {"value": 0.5, "at": NOW + 4}}, now=NOW)
    assert state.trust == Reading(0.5, 0.0)


def test_a_time_needs_a_clock_to_compare_it_with() -> None:
    with pytest.raises(TelemetryError, match="`at` is not allowed here, give `age_s`"):
        GovernanceState.from_mapping({"trust": {"value": 0.5, "at": NOW}})


@pytest.mark.parametrize(
    "reading", [{"value": 1, "at": 0}, {"value": 1, "at": -(10**400)}, {"value": 1, "age_s": 10**400}]
)
def test_an_age_beyond_the_text_form_is_taken_as_the_greatest_one(reading: dict[str, Any]) -> None:
    assert GovernanceState.from_mapping({"trust": reading}, now=NOW).trust == Reading(1.0, MAX_AGE_S)


def test_null_is_a_missing_channel() -> None:
    assert GovernanceState.from_mapping({"trust": None}) == GovernanceState()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_lands_on_the_grid_and_stays_there(number: float) -> None:
    value = quantise(number)
    assert 0.0 <= value <= 1.0
    assert value == round(value, 2) == quantise(value)


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.name)
def test_the_stale_level_counts_doublings_of_the_time_to_live(channel: Any) -> None:
    value = channel.values[0] if channel.values else 0.5
    for level in range(MAX_STALE_LEVEL):
        limit = channel.ttl_s * 2**level
        assert stale_level(channel, Reading(value, limit)) == level
        assert stale_level(channel, Reading(value, limit + 0.001)) == level + 1
    assert stale_level(channel, Reading(value, MAX_AGE_S)) == MAX_STALE_LEVEL


@given(st.from_type(GovernanceState), st.floats(0, 1e6))
def test_time_only_ever_degrades_a_state(state: GovernanceState, seconds: float) -> None:
    older = state.aged(seconds)
    assert set(state.degraded_channels()) <= set(older.degraded_channels())
    assert older.is_degraded() or not state.is_degraded()
    assert [r and r.value for _, r in older] == [r and r.value for _, r in state]


def test_a_state_is_degraded_when_half_of_the_competence_channels_say_nothing() -> None:
    full = {name: Reading(0.9) for name in COMPETENCE_CHANNELS}
    assert not GovernanceState(**full).is_degraded()
    for count, expected in ((1, False), (2, True), (4, True)):
        stale = {name: Reading(0.9, CHANNEL_BY_NAME[name].ttl_s + 1) for name in COMPETENCE_CHANNELS[:count]}
        assert GovernanceState(**full | stale).is_degraded() is expected
        assert GovernanceState(**full | dict.fromkeys(stale)).is_degraded() is expected


def test_degraded_channels_keep_the_fixed_order() -> None:
    state = GovernanceState.of(verify=0.5, model="SPLIT").aged(61)
    assert state.degraded_channels() == ("trust", "verify", "attest", "bound", "intensity", "emotion", "decision")


@pytest.mark.parametrize("reading", [0.5, "FOCUSED", (0.5, 0.0)])
def test_a_state_is_built_from_readings_only(reading: Any) -> None:
    with pytest.raises(TelemetryError, match="must be a Reading"):
        GovernanceState(trust=reading)
