"""Robustness: what the decision should and should not depend on, measured on pairs and on changed requests.

`probes` makes the changed requests before anything is scored, so that one pass of the model covers them all;
`robustness_measures` takes the measures from what it said. A measure for which there are too few families (an interval
needs two) is None. `ideal` is what the generator's own posterior gets on the same changed requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from promethios.data.example import Example
from promethios.evaluation.bias_pairs import bias_pair_measures
from promethios.evaluation.calibration import Calibration
from promethios.evaluation.certificate import Certificate
from promethios.evaluation.certified_answers import served_escalations
from promethios.evaluation.conflict_pairs import conflict_pair_measures
from promethios.evaluation.decisions import Baseline, System, escalations, model_decisions, model_system
from promethios.evaluation.evaluated_set import EvaluatedSet
from promethios.evaluation.evaluation_data import EvaluationData, flat
from promethios.evaluation.ideal_reader import ideal_probability
from promethios.evaluation.input_ablation import ablation_measures, with_headers_shuffled, without_text
from promethios.evaluation.intervals import BoolArray, FloatArray, Resamples
from promethios.evaluation.monotonicity import monotonicity_measures, with_a_channel_raised
from promethios.evaluation.spoofing import spoofing_measures
from promethios.evaluation.stale_invariance import stale_invariance_measures, with_a_stale_value_swapped
from promethios.evaluation.tool_probe import tool_probe_measures
from promethios.evaluation.variation import Variation
from promethios.ontology.decision import ESCALATE


@dataclass(frozen=True, kw_only=True)
class Probes:
    """The sets to score beside the test sets."""

    data: EvaluationData
    raised: Variation
    swapped: Variation
    shuffled: list[Example]
    textless: list[Example]

    @classmethod
    def of(cls, data: EvaluationData, seed: int) -> Probes:
        """Change the test examples; seed: of what is chosen at random."""
        rng = np.random.default_rng(seed)
        return cls(
            data=data,
            raised=with_a_channel_raised(data.test, rng),
            swapped=with_a_stale_value_swapped(data.test, rng),
            shuffled=with_headers_shuffled(data.test, rng),
            textless=without_text(data.test),
        )

    def sets(self) -> dict[str, list[Example]]:
        """Return every set to score, by name."""
        return {
            "conflict_pairs": flat(self.data.conflict_pairs),
            "spoof_pairs": flat(self.data.spoof_pairs),
            "bias_pairs": flat(self.data.bias_pairs),
            "tool_use": self.data.tool_use,
            "raised": self.raised.examples,
            "swapped": self.swapped.examples,
            "shuffled": self.shuffled,
            "textless": self.textless,
        }


def robustness_measures(
    probes: Probes,
    scores: Mapping[str, FloatArray],
    test: EvaluatedSet,
    calibration: Calibration,
    certificate: Certificate,
    baselines: Sequence[Baseline],
    seed: int,
) -> dict[str, Any]:
    """Return every robustness measure. scores: the model's raw scores of each of `Probes.sets` [m, 18]."""
    said = {name: _model(scores[name], examples, calibration) for name, examples in probes.sets().items()}
    data = probes.data
    return {
        "conflict_pairs": _conflict_pairs(data, scores["conflict_pairs"], calibration, baselines, seed),
        "monotonicity": _monotonicity(test, probes.raised, said["raised"], seed),
        "stale_invariance": _stale_invariance(test, probes.swapped, said["swapped"], seed),
        "spoofing": _spoofing(probes, said["spoof_pairs"], calibration, certificate),
        "bias_pairs": _with_intervals(
            [pair[0] for pair in data.bias_pairs],
            seed,
            lambda resamples: bias_pair_measures(*_by_pair(said["bias_pairs"]), resamples),
        ),
        "header_shuffled": _ablation(test, said["shuffled"], test.baselines["text"]),
        "text_removed": _ablation(test, said["textless"], test.baselines["boosted_tags"]),
        "tool_probe": _with_intervals(
            data.tool_use,
            seed,
            lambda resamples: tool_probe_measures(scores["tool_use"], data.tool_use, resamples),
        ),
    }


def _model(scores: FloatArray, examples: Sequence[Example], calibration: Calibration) -> System:
    if not examples:
        return System("model", "Promethios", np.empty(0), np.empty(0, np.bool_), kind="model")
    return model_system(*model_decisions(scores, examples, calibration))


def _by_pair(system: System) -> tuple[FloatArray, BoolArray]:
    return system.probability.reshape(-1, 2), system.escalates.reshape(-1, 2)


def _with_intervals(
    examples: Sequence[Example], seed: int, measure: Callable[[Resamples], dict[str, Any]]
) -> dict[str, Any] | None:
    """Return what a measure gives on resamples of the examples' families, with their number; None with too few."""
    families = [example.family or example.id for example in examples]
    if len(set(families)) < 2:
        return None
    return {"num_examples": len(examples), **measure(Resamples(families, seed=seed))}


def _spoofing(probes: Probes, said: System, calibration: Calibration, certificate: Certificate) -> dict[str, Any]:
    """An attacker meets the served rule; what comes of it at the threshold of cost stands beside it."""
    served = served_escalations(said.probability, flat(probes.data.spoof_pairs), calibration, certificate)
    probability, at_cost = _by_pair(said)
    return {
        **spoofing_measures(probability, served.reshape(-1, 2)),
        "at_cost": spoofing_measures(probability, at_cost),
    }


def _conflict_pairs(
    data: EvaluationData, scores: FloatArray, calibration: Calibration, baselines: Sequence[Baseline], seed: int
) -> dict[str, Any] | None:
    members = flat(data.conflict_pairs)
    if len({member.family for member in members}) < 2:
        return None
    evaluated = EvaluatedSet.of(members, scores, calibration, baselines, seed)
    rivals = {key: system for key, system in evaluated.baselines.items() if system.kind == "baseline"}
    return conflict_pair_measures(data.conflict_pairs, evaluated.model, rivals, seed)


def _monotonicity(test: EvaluatedSet, raised: Variation, said: System, seed: int) -> dict[str, Any] | None:
    ideal = _ideal(test, raised)

    def measure(resamples: Resamples) -> dict[str, Any]:
        return {
            **monotonicity_measures(test.model.probability[raised.rows], said.probability, resamples),
            "ideal": ideal and monotonicity_measures(*ideal, resamples),
        }

    return _with_intervals(raised.examples, seed, measure)


def _stale_invariance(test: EvaluatedSet, swapped: Variation, said: System, seed: int) -> dict[str, Any] | None:
    rows = swapped.rows
    ideal = _ideal(test, swapped)

    def decided(probability: FloatArray) -> tuple[FloatArray, BoolArray]:
        return probability, escalations(probability, test.thresholds[rows], test.degraded[rows])

    def measure(resamples: Resamples) -> dict[str, Any]:
        before = test.model.probability[rows], test.model.escalates[rows]
        return {
            **stale_invariance_measures(before, (said.probability, said.escalates), resamples),
            "ideal": ideal and stale_invariance_measures(decided(ideal[0]), decided(ideal[1]), resamples),
        }

    return _with_intervals(swapped.examples, seed, measure)


def _ideal(test: EvaluatedSet, variation: Variation) -> tuple[FloatArray, FloatArray] | None:
    """Return what an ideal reader would say before and after; None for examples that are not the generator's."""
    before = [test.examples[row] for row in variation.rows.tolist()]
    after = ideal_probability(before, variation.examples)
    return None if after is None else (np.array([example.soft_label[ESCALATE] for example in before]), after)


def _ablation(test: EvaluatedSet, ablated: System, level: System) -> dict[str, Any]:
    return {"level_of": level.key, **ablation_measures(test.model, ablated, level, test.outcome, test.resamples)}
