from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from promethios.data.example import Example
from promethios.evaluation.baselines import fit_baselines
from promethios.evaluation.calibration import Calibration
from promethios.evaluation.evaluated_set import EvaluatedSet
from promethios.evaluation.self_questioning import self_questioning_measures, self_questioning_note
from promethios.model.self_questioning import SelfQuestioned

MAX_ROUNDS = 2
TOKENS_OF_A_ROUND = 10


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    """Undo the scale of the synthetic scores."""
    return Calibration(
        weights_sha256="0" * 64,
        dataset_sha256="0" * 64,
        num_examples=100,
        slope=0.5,
        intercept=-0.5,
        domain_intercepts={},
        thresholds={},
        default_threshold=0.4,
    )


@pytest.fixture(scope="module")
def measured(
    make_examples: Callable[[int, str], list[Example]],
    model_scores: Callable[..., np.ndarray],
    calibration: Calibration,
) -> dict[str, Any]:
    """Every second request takes a round, every fourth two; what was a noisy reading is a clear one afterwards."""
    examples = make_examples(400, "test")
    noisy, clear = model_scores(examples, 3.0), model_scores(examples, 0.0)
    evaluated = EvaluatedSet.of(examples, noisy, calibration, fit_baselines(make_examples(300, "train")), seed=0)
    num_rounds = np.array([0, 1, 0, 2])[np.arange(len(examples)) % 4]
    asked = SelfQuestioned(
        scores=np.where(num_rounds[:, None] > 0, clear, noisy),
        questions=tuple(("Is it clear? Yes.",) * count for count in num_rounds.tolist()),
        extra_tokens=TOKENS_OF_A_ROUND * num_rounds,
    )
    return self_questioning_measures(asked, evaluated, calibration, MAX_ROUNDS)


def test_rounds_and_tokens_are_counted(measured: dict[str, Any]) -> None:
    assert [measured[f"rounds_{count}"].value for count in range(MAX_ROUNDS + 1)] == [0.5, 0.25, 0.25]
    assert measured["extra_tokens"].value == 0.75 * TOKENS_OF_A_ROUND
    assert measured["extra_tokens_where_asked"].value == 1.5 * TOKENS_OF_A_ROUND
    assert all(sample["questions"] for sample in measured["samples"])


def test_a_gain_is_what_changes_and_comes_from_the_requests_that_asked(measured: dict[str, Any]) -> None:
    for name in ("accuracy", "auroc", "expected_cost"):
        gain = measured["gain"][name].value
        assert gain == pytest.approx(measured["with"][name].value - measured["without"][name].value)
    assert measured["gain"]["accuracy"].low > 0.0
    assert measured["gain"]["expected_cost"].high < 0.0
    assert measured["accuracy_gain_where_asked"].value == pytest.approx(2 * measured["gain"]["accuracy"].value)


def test_one_sentence_says_it(measured: dict[str, Any]) -> None:
    note = self_questioning_note(measured)
    assert "50% / 25% / 25% of the requests take 0 / 1 / 2 hidden rounds, 7.5 tokens a request" in note
    assert f"accuracy {measured['gain']['accuracy'].value:+.4f}" in note
