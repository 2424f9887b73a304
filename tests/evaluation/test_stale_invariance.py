from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from promethios.data.example import Example
from promethios.evaluation.intervals import Resamples
from promethios.evaluation.stale_invariance import stale_invariance_measures, with_a_stale_value_swapped


def test_a_stale_channel_takes_the_stale_value_of_another_example(
    make_examples: Callable[[int, str], list[Example]],
) -> None:
    examples = make_examples(200, "test")
    swapped = with_a_stale_value_swapped(examples, np.random.default_rng(0))
    stale = [row for row, e in enumerate(examples) if e.state and e.state.verify and e.state.verify.age_s == 900.0]
    assert swapped.rows.tolist() == stale and len(stale) > 10
    was = [examples[row].state.verify.value for row in stale]  # type: ignore[union-attr]
    now = [example.state.verify.value for example in swapped.examples]  # type: ignore[union-attr]
    assert sorted(was) == sorted(now) and sum(a == b for a, b in zip(was, now, strict=True)) <= 2
    for row, example in zip(stale, swapped.examples, strict=True):
        assert example.state is not None and example.state.verify is not None
        assert example.state.verify.age_s == 900.0
        assert replace(example, state=examples[row].state) == examples[row]


def test_a_single_stale_reading_has_nobody_to_swap_with(make_examples: Callable[[int, str], list[Example]]) -> None:
    examples = make_examples(200, "test")
    row = with_a_stale_value_swapped(examples, np.random.default_rng(0)).rows[0]
    alone = with_a_stale_value_swapped([examples[row]], np.random.default_rng(0))
    assert [example.state for example in alone.examples] == [examples[row].state]


def test_the_share_of_decisions_that_stay() -> None:
    before = np.array([0.1, 0.2, 0.6, 0.9]), np.array([False, False, True, True])
    after = np.array([0.1, 0.5, 0.3, 0.9]), np.array([False, True, False, True])
    measures = stale_invariance_measures(before, after, Resamples(list("aabb")))
    assert measures["decision_stays"].value == 0.5
    assert round(measures["mean_absolute_change"].value, 6) == 0.15
