from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promethios.telemetry.header import (
    DECISIONS,
    NUM_DOMAIN_SLOTS,
    RESERVED_TOKENS,
    SCORE_NAMES,
    HeaderDomain,
    ReservedIds,
    header_tokens,
)
from promethios.telemetry.state import CHANNELS, GovernanceState, Reading, stale_level

FIRST = 1000
IDS = ReservedIds(FIRST)
DOMAINS = st.none() | st.builds(HeaderDomain, st.integers(0, NUM_DOMAIN_SLOTS - 1), st.floats(0, 1))


@given(st.none() | st.from_type(GovernanceState), DOMAINS)
def test_every_header_is_made_of_reserved_tokens_between_its_marks(
    state: GovernanceState | None, domain: HeaderDomain | None
) -> None:
    tokens = header_tokens(state, domain)
    assert tokens[0] == "<|gov|>"
    assert tokens[-1] == "<|/gov|>"
    assert set(tokens) <= set(RESERVED_TOKENS)
    stale = sum(stale_level(c, r) > 0 for c, r in state or () if r is not None)
    assert len(tokens) == 2 + (2 * len(CHANNELS) + stale if state else 0) + (3 if domain else 0)


def test_a_full_header_reads_channel_by_channel() -> None:
    state = GovernanceState(trust=Reading(0.72), emotion=Reading("FOCUSED", 45.0))
    assert header_tokens(state, HeaderDomain(0, 0.75)) == [
        "<|gov|>",
        "<|g:trust|>", "<|v:072|>",
        "<|g:verify|>", "<|na|>",
        "<|g:attest|>", "<|na|>",
        "<|g:bound|>", "<|na|>",
        "<|g:intensity|>", "<|na|>",
        "<|g:emotion|>", "<|emotion:FOCUSED|>", "<|stale:1|>",
        "<|g:decision|>", "<|na|>",
        "<|g:model|>", "<|na|>",
        "<|g:domain|>", "<|domain:00|>", "<|v:075|>",
        "<|/gov|>",
    ]  # fmt: skip


def test_a_header_without_telemetry_still_closes() -> None:
    assert header_tokens(None, None) == ["<|gov|>", "<|/gov|>"]


def test_no_telemetry_and_telemetry_without_a_reading_differ() -> None:
    assert header_tokens(None, None) != header_tokens(GovernanceState(), None)


@given(st.from_type(GovernanceState), DOMAINS)
def test_ids_are_the_tokens_offsets_from_the_first_id(state: GovernanceState, domain: HeaderDomain | None) -> None:
    tokens = [RESERVED_TOKENS[token_id - FIRST] for token_id in IDS.header(state, domain)]
    assert tokens == header_tokens(state, domain)


@given(st.lists(st.integers(-10, FIRST + 2 * len(RESERVED_TOKENS))))
def test_scrubbing_removes_exactly_the_reserved_ids(token_ids: list[int]) -> None:
    assert IDS.scrub(token_ids) == [i for i in token_ids if not FIRST <= i < FIRST + len(RESERVED_TOKENS)]


@given(st.from_type(GovernanceState))
def test_a_header_placed_by_a_client_is_scrubbed_away(state: GovernanceState) -> None:
    assert IDS.scrub([1, *IDS.header(state, None), 2]) == [1, 2]


def test_reserved_tokens_are_distinct_and_their_ids_contiguous() -> None:
    assert len(set(RESERVED_TOKENS)) == len(RESERVED_TOKENS)
    assert list(IDS) == [IDS.id(token) for token in RESERVED_TOKENS]
    assert IDS.end - IDS.first == len(RESERVED_TOKENS)


def test_the_score_columns_are_a_reference_and_one_for_each_score() -> None:
    assert len(IDS.score_ids) == 1 + len(SCORE_NAMES)
    assert IDS.score_ids[0] == IDS.id("<|score:ref|>")
    assert IDS.score_ids[1 + SCORE_NAMES.index("tool")] == IDS.id("<|score:tool|>")


def test_there_is_an_id_for_each_value_and_each_decision() -> None:
    assert len(IDS.value_ids) == 101
    assert IDS.value_ids[72] == IDS.id("<|v:072|>")
    assert [IDS.decision(name) for name in DECISIONS] == [IDS.id(f"<|decide:{name}|>") for name in DECISIONS]


def test_a_token_that_is_not_reserved_has_no_id() -> None:
    with pytest.raises(KeyError):
        IDS.id("<|bos|>")


def test_the_order_of_reserved_tokens_is_frozen() -> None:
    """A model is trained with these offsets: tokens are appended, never moved."""
    places = {token: RESERVED_TOKENS.index(token) for token in RESERVED_TOKENS}
    assert places["<|gov|>"] == 0
    assert places["<|g:trust|>"] == 7
    assert places["<|v:000|>"] == 16
    assert places["<|emotion:FOCUSED|>"] == 117
    assert places["<|domain:00|>"] == 133
    assert places["<|decide:answer|>"] == 165
    assert places["<|score:ref|>"] == 169
    assert places["<|ask|>"] == 188
    assert len(RESERVED_TOKENS) == 189
