"""What a system decides on each example: probabilities in, the deployed decision out.

Everything decides through `promethios.ontology.decision.decide` with the domain's threshold, and more carefully when
the telemetry is degraded: labelling, serving, the model here and every baseline here follow the same rule.

The threshold of the measures is the one of cost (ontology), which says what the better decision is. The certified
threshold, which serving never exceeds, says how much may be answered under a promise: `certified_answers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from promethios.data.example import Example
from promethios.evaluation.calibration import Calibration
from promethios.evaluation.intervals import BoolArray, FloatArray
from promethios.ontology.decision import ESCALATE, decide
from promethios.telemetry.state import GovernanceState

Predict = Callable[[Sequence[Example]], FloatArray]


@dataclass(frozen=True, slots=True)
class Baseline:
    """A system to compare with: `predict` gives each example's probability of escalation [n] (0 or 1 for a rule).

    kind: `baseline` (no language model), `compared` (another language model) or `ceiling`. settings: what was chosen by
    cross-validation.
    """

    key: str
    title: str
    predict: Predict
    kind: str = "baseline"
    settings: str = ""


@dataclass(frozen=True, slots=True)
class System:
    """One system's probability of escalation [n] and its deployed decision to escalate [n], on the same examples.

    kind: `model`, `baseline`, `compared` (another language model, named by the user) or `ceiling`. settings: what was
    chosen by cross-validation.
    """

    key: str
    title: str
    probability: FloatArray
    escalates: BoolArray
    kind: str = "baseline"
    settings: str = ""


def is_degraded(state: GovernanceState | None) -> bool:
    """True when telemetry is absent or vouches for little."""
    return state is None or state.is_degraded()


def model_decisions(
    scores: FloatArray, examples: Sequence[Example], calibration: Calibration
) -> tuple[FloatArray, list[str]]:
    """Return the model's calibrated probabilities [n, 4] and its deployed decisions [n], from raw scores [n, 18]."""
    probabilities = [
        calibration.probabilities(row, example.header_domain)
        for row, example in zip(scores.tolist(), examples, strict=True)
    ]
    decisions = [
        decide(row, calibration.threshold(example.header_domain), degraded=is_degraded(example.state))
        for row, example in zip(probabilities, examples, strict=True)
    ]
    return np.array(probabilities), decisions


def model_system(probabilities: FloatArray, decisions: Sequence[str]) -> System:
    """Return the model as a system to compare with the baselines."""
    escalates = np.array([decision == "escalate" for decision in decisions])
    return System("model", "Promethios", probabilities[:, ESCALATE], escalates, kind="model")


def deployed_escalations(probability: FloatArray, examples: Sequence[Example], calibration: Calibration) -> BoolArray:
    """Return whether each example [n] is escalated at a probability [n], under the thresholds of cost."""
    thresholds = np.array([calibration.threshold(example.header_domain) for example in examples])
    return escalations(probability, thresholds, degraded_of(examples))


def escalations(probability: FloatArray, thresholds: FloatArray, degraded: BoolArray) -> BoolArray:
    """Return whether each item [n] is escalated at a probability and a threshold, which counts half when degraded."""
    rows = zip(probability.tolist(), thresholds.tolist(), degraded.tolist(), strict=True)
    decisions = (decide((1.0 - p, 0.0, 0.0, p), threshold, degraded=poor) for p, threshold, poor in rows)
    return np.array([decision == "escalate" for decision in decisions], np.bool_)


def degraded_of(examples: Sequence[Example]) -> BoolArray:
    """Return whose telemetry is degraded [n]."""
    return np.array([is_degraded(example.state) for example in examples], np.bool_)
