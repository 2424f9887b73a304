from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from promethios.data.example import Example
from promethios.evaluation.certificate import DomainCertificate
from promethios.evaluation.certified_answers import answer_measures, kept_promises
from promethios.evaluation.intervals import Resamples


def certified(limit: float) -> DomainCertificate:
    return DomainCertificate(
        risk_limit=limit,
        threshold=0.1,
        num_examples=800,
        num_answered=400,
        num_missed=9,
        risk_upper_bound=limit,
        auto_answered_share=0.5,
        crc_threshold=0.1,
    )


def test_a_miss_is_an_answer_where_the_expert_took_over() -> None:
    escalates = np.array([True, False, False, False])
    outcome = np.array([True, True, False, False])
    measures = answer_measures(escalates, outcome, Resamples(list("abcd")))
    assert measures["auto_answered_share"].value == 0.75
    assert measures["missed_share"].value == 0.25


@pytest.mark.parametrize(("num_missed", "holds"), [(2, True), (6, True), (20, False)])
def test_a_promise_is_broken_only_by_a_risk_significantly_above_the_limit(
    make_examples: Callable[[int, str], list[Example]], num_missed: int, holds: bool
) -> None:
    examples = [replace(example, header_domain="legal") for example in make_examples(200, "test")]
    outcome = np.arange(200) < num_missed
    kept = kept_promises({"legal": certified(0.02)}, examples, np.zeros(200, bool), outcome)["legal"]
    assert (kept.num_examples, kept.num_answered, kept.num_missed) == (200, 200, num_missed)
    assert kept.holds == holds
    assert kept.to_json()["missed_share"] == num_missed / 200


def test_only_requests_that_state_the_domain_count(make_examples: Callable[[int, str], list[Example]]) -> None:
    examples = [replace(e, header_domain="legal" if i < 50 else None) for i, e in enumerate(make_examples(80, "test"))]
    escalates = np.arange(80) % 2 == 0
    kept = kept_promises({"legal": certified(0.02), "hr": certified(0.05)}, examples, escalates, np.zeros(80, bool))
    assert list(kept) == ["legal"]
    assert (kept["legal"].num_examples, kept["legal"].num_answered) == (50, 25)
