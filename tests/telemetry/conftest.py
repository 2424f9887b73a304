"""`st.from_type(GovernanceState)` draws any state: values on the grid, words, and ages of every size."""

from __future__ import annotations

from hypothesis import strategies as st

from promethios.telemetry.state import CHANNELS, MAX_AGE_S, Channel, GovernanceState, Reading


def _readings(channel: Channel) -> st.SearchStrategy[Reading | None]:
    values = st.floats(-1.0, 2.0) if channel.is_number else st.sampled_from(channel.values)
    ages = st.just(0.0) | st.floats(0.0, 3600.0) | st.floats(0.0, 2 * MAX_AGE_S)
    return st.none() | st.builds(Reading, values, ages)


st.register_type_strategy(
    GovernanceState, st.builds(GovernanceState, **{channel.name: _readings(channel) for channel in CHANNELS})
)
