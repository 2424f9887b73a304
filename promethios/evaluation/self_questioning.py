"""Self-questioning: what hidden rounds bring, and what they cost, on the requests of a test set.

With and without are compared pair by pair, under the same calibration and the same decision rule. Measured only with
`promethios evaluate --self_questioning`; the gates, the certificate and every other measure are without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from promethios.evaluation.calibration import Calibration
from promethios.evaluation.decisions import System, model_decisions, model_system
from promethios.evaluation.evaluated_set import EvaluatedSet
from promethios.evaluation.hitl_accuracy import accuracy, auroc, expected_cost
from promethios.evaluation.intervals import FloatArray

if TYPE_CHECKING:
    from promethios.model.self_questioning import SelfQuestioned

NUM_SAMPLES: Final = 8
"""Requests with rounds that the report shows."""


def self_questioning_measures(
    asked: SelfQuestioned, evaluated: EvaluatedSet, calibration: Calibration, max_rounds: int
) -> dict[str, Any]:
    """Return the shares of requests by rounds, the tokens that these add, and each measure with and without, paired.

    asked: of the set's examples, in their order. `..._where_asked` is about the requests with at least one round.
    """
    resamples, outcome = evaluated.resamples, evaluated.outcome
    probabilities, decisions = model_decisions(asked.scores.astype(np.float64), evaluated.examples, calibration)
    system = model_system(probabilities, decisions)
    without, with_rounds = _measures(evaluated, evaluated.model), _measures(evaluated, system)
    num_rounds = np.array([len(texts) for texts in asked.questions])
    some = num_rounds > 0
    rows = {
        **{f"rounds_{count}": resamples.mean(num_rounds == count) for count in range(max_rounds + 1)},
        "extra_tokens": resamples.mean(asked.extra_tokens),
        "extra_tokens_where_asked": resamples.mean(asked.extra_tokens, some),
        "accuracy_gain_where_asked": resamples.mean(system.escalates == outcome, some)
        - resamples.mean(evaluated.model.escalates == outcome, some),
    }
    shown = [i for i, texts in enumerate(asked.questions) if texts][:NUM_SAMPLES]
    return {
        "num_examples": len(evaluated.examples),
        **{name: resamples.estimate(row) for name, row in rows.items()},
        "without": {name: resamples.estimate(row) for name, row in without.items()},
        "with": {name: resamples.estimate(row) for name, row in with_rounds.items()},
        "gain": {name: resamples.estimate(row - without[name]) for name, row in with_rounds.items()},
        "samples": [{"prompt": evaluated.examples[i].prompt, "questions": list(asked.questions[i])} for i in shown],
    }


def self_questioning_note(measures: dict[str, Any]) -> str:
    """Return the measures in one sentence."""
    gain = ", ".join(
        f"{name.replace('_', ' ')} {value.value:+.4f} ({value.low:+.4f} to {value.high:+.4f})"
        for name, value in measures["gain"].items()
    )
    rounds = " / ".join(f"{value.value:.0%}" for name, value in measures.items() if name.startswith("rounds_"))
    return (
        f"With self-questioning on `test`, {rounds} of the requests take 0 / 1 / 2 hidden rounds, "
        f"{measures['extra_tokens'].value:.1f} tokens a request; the change: {gain}."
    )


def _measures(evaluated: EvaluatedSet, system: System) -> dict[str, FloatArray]:
    resamples, outcome = evaluated.resamples, evaluated.outcome
    return {
        "accuracy": accuracy(system.escalates, outcome, resamples),
        "auroc": auroc(system.probability, outcome, resamples),
        "expected_cost": expected_cost(system.escalates, outcome, evaluated.miss_cost, resamples),
    }
