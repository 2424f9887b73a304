from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from promethios.data.example import Example, read_examples
from promethios.evaluation.ideal_reader import ideal_probability
from promethios.telemetry.state import GovernanceState, Reading


@pytest.fixture(scope="module")
def generated(small_dataset: Path) -> list[Example]:
    return read_examples(small_dataset / "test.jsonl")


def test_without_a_change_it_is_what_the_generator_stored(generated: list[Example]) -> None:
    stored = [example.soft_label[3] for example in generated]
    found = ideal_probability(generated, generated)
    assert found is not None and found == pytest.approx(np.array(stored), abs=1e-3)


def test_clearly_more_competence_never_raises_it(generated: list[Example]) -> None:
    strong = GovernanceState.of(trust=0.99, verify=0.99, bound=0.99, attest=0.95, model="CONSENSUS")
    weak = GovernanceState.of(trust=0.05, verify=0.05, bound=0.05, attest=0.95, model="SINGLE")
    of_strong = ideal_probability(generated, [replace(example, state=strong) for example in generated])
    of_weak = ideal_probability(generated, [replace(example, state=weak) for example in generated])
    assert of_strong is not None and of_weak is not None
    assert (of_strong <= of_weak).all() and (of_weak - of_strong).mean() > 0.3


def test_a_reading_far_out_of_date_tells_almost_nothing(generated: list[Example]) -> None:
    def with_stale_trust(value: float) -> list[Example]:
        fresh = {"verify": Reading(0.7), "bound": Reading(0.7), "attest": Reading(0.95)}
        return [replace(e, state=GovernanceState(trust=Reading(value, 900.0), **fresh)) for e in generated]

    low, high = (ideal_probability(generated, with_stale_trust(value)) for value in (0.05, 0.95))
    assert low is not None and high is not None
    assert np.abs(low - high).mean() < 0.05


def test_examples_of_another_world_are_recognised(make_examples: Callable[[int, str], list[Example]]) -> None:
    examples = make_examples(50, "test")
    assert ideal_probability(examples, examples) is None
    unlabelled = [replace(example, soft_label=()) for example in examples]
    assert ideal_probability(unlabelled, unlabelled) is None
    assert ideal_probability([], []) is None
