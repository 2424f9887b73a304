"""What a system decides on each example: probabilities in, the deployed decision out.

Everything decides through `promethios.ontology.decision.decide` with the domain's threshold, and more carefully when
the telemetry is degraded: labelling, serving, the model here and every baseline here follow the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from promethios.data.example import Example
from promethios.evaluation.calibration import Calibration
from promethios.evaluation.intervals import BoolArray, FloatArray
from promethios.ontology.decision import ESCALATE, decide
from promethios.telemetry.state import GovernanceState


@dataclass(frozen=True, slots=True)
class System:
    """One system's probability of escalation [n] and its deployed decision to escalate [n], on the same examples."""

    key: str
    title: str
    probability: FloatArray
    escalates: BoolArray


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
    return System("model", "Promethios", probabilities[:, ESCALATE], escalates)


def deployed_escalations(probability: FloatArray, examples: Sequence[Example], calibration: Calibration) -> BoolArray:
    """Return whether each example [n] is escalated at a probability [n], under the deployed thresholds."""
    decisions = [
        decide(
            (1.0 - escalate, 0.0, 0.0, escalate),
            calibration.threshold(example.header_domain),
            degraded=is_degraded(example.state),
        )
        for escalate, example in zip(probability.tolist(), examples, strict=True)
    ]
    return np.array([decision == "escalate" for decision in decisions])
