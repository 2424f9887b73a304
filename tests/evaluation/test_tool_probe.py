from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from promethios.data.example import Example
from promethios.evaluation.intervals import Resamples
from promethios.evaluation.tool_probe import tool_probe_measures


def test_each_state_is_judged_by_whether_a_look_up_is_called_for(
    make_examples: Callable[[int, str], list[Example]],
) -> None:
    states = ("fine", "needed", "unreliable", "needed")
    examples = [
        replace(example, tool_state=state) for example, state in zip(make_examples(4, "tool_use"), states, strict=True)
    ]
    scores = np.zeros((4, 18))
    scores[:, -1] = [-2.0, 3.0, -1.0, -3.0]
    measures = tool_probe_measures(scores, examples, Resamples(list("abcd")))
    assert {state: share.value for state, share in measures["accuracy"].items()} == {
        "fine": 1.0,
        "needed": 0.5,
        "unreliable": 0.0,
    }
    assert measures["auroc"].value == pytest.approx(2 / 3)
