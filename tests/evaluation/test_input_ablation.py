from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from promethios.data.example import Example
from promethios.evaluation.decisions import System
from promethios.evaluation.input_ablation import ablation_measures, with_headers_shuffled, without_text
from promethios.evaluation.intervals import Resamples


def test_every_header_goes_to_another_example_with_its_domain(
    make_examples: Callable[[int, str], list[Example]],
) -> None:
    examples = make_examples(60, "test")
    shuffled = with_headers_shuffled(examples, np.random.default_rng(0))
    headers = {(str(example.state), example.header_domain) for example in examples}
    assert {(str(example.state), example.header_domain) for example in shuffled} == headers
    assert sum(a.state == b.state for a, b in zip(examples, shuffled, strict=True)) <= 4, "some have no telemetry"
    assert [example.messages for example in shuffled] == [example.messages for example in examples]
    assert [example.escalate for example in shuffled] == [example.escalate for example in examples]


def test_without_text_only_the_header_is_left(make_examples: Callable[[int, str], list[Example]]) -> None:
    examples = make_examples(5, "test")
    for example, textless in zip(examples, without_text(examples), strict=True):
        assert textless.request == ({"role": "user", "content": ""},)
        assert (textless.state, textless.header_domain) == (example.state, example.header_domain)


def test_what_is_lost_and_what_is_left() -> None:
    outcome = np.array([True, True, False, False])
    perfect, wrong_twice, wrong_once = (
        System("", "", np.array(probability), np.array(probability) >= 0.5)
        for probability in ([0.9, 0.8, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1], [0.4, 0.9, 0.45, 0.1])
    )
    measures = ablation_measures(perfect, wrong_twice, wrong_once, outcome, Resamples(list("abcd")))
    values = {name: estimate.value for name, estimate in measures.items()}
    expected = {
        "accuracy": 0.5, "auroc": 1.0, "drop": 0.5, "level": 0.75, "level_auroc": 0.75, "above_level": -0.25
    }  # fmt: skip
    assert values == pytest.approx(expected)
