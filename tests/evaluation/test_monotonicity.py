from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from promethios.data.example import Example
from promethios.evaluation.intervals import Resamples
from promethios.evaluation.monotonicity import monotonicity_measures, with_a_channel_raised
from promethios.telemetry.state import GovernanceState, Reading


def test_one_fresh_channel_with_room_reads_more_and_nothing_else_changes(
    make_examples: Callable[[int, str], list[Example]],
) -> None:
    examples = make_examples(80, "test")
    raised = with_a_channel_raised(examples, np.random.default_rng(0))
    assert len(raised.rows) > 50
    for row, example in zip(raised.rows, raised.examples, strict=True):
        before, after = examples[row].state, example.state
        assert before is not None and after is not None
        changed = [channel.name for channel, reading in before if reading != getattr(after, channel.name)]
        assert len(changed) == 1 and changed[0] in ("trust", "verify", "bound")
        was, now = getattr(before, changed[0]), getattr(after, changed[0])
        assert now.value - was.value == pytest.approx(0.2) and now.age_s == was.age_s == 0.0
        assert replace(example, state=before) == examples[row]


@pytest.mark.parametrize(
    "state",
    [
        None,
        GovernanceState(trust=Reading(0.5, 900.0), attest=Reading(0.5)),
        GovernanceState.of(trust=0.81, verify=0.9, bound=1.0),
    ],
)
def test_without_a_fresh_reading_that_has_room_there_is_nothing_to_raise(
    make_examples: Callable[[int, str], list[Example]], state: GovernanceState | None
) -> None:
    example = replace(make_examples(1, "test")[0], state=state)
    assert with_a_channel_raised([example], np.random.default_rng(0)).examples == []


def test_only_a_clear_rise_is_a_violation() -> None:
    before = np.full(8, 0.5)
    after = np.array([0.5, 0.519, 0.521, 0.8, 0.2, 0.2, 0.2, 0.2])
    measures = monotonicity_measures(before, after, Resamples(list("aabbccdd")))
    assert measures["violations"].value == 2 / 8
    assert measures["mean_change"].value == pytest.approx((after - before).mean())
