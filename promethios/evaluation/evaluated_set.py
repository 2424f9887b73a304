"""One evaluation set with the model's and every baseline's predictions on it, and the measures taken there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from promethios.data.example import Example
from promethios.evaluation.calibration import Calibration
from promethios.evaluation.confidence_calibration import (
    calibration_measures,
    chance_ece,
    chance_smooth_ece,
    expected_calibration_error,
    smooth_ece_by_domain,
)
from promethios.evaluation.conflict_resolution import channel_conflicts, conflict_measures, conflict_score
from promethios.evaluation.decisions import Baseline, System, degraded_of, escalations, model_decisions, model_system
from promethios.evaluation.domain_compliance import DomainResult, compliance_score, domain_results
from promethios.evaluation.governance_heads import head_measures
from promethios.evaluation.hitl_accuracy import accuracy, expected_cost, hitl_measures
from promethios.evaluation.intervals import BoolArray, Estimate, FloatArray, Resamples
from promethios.evaluation.overall import overall_score
from promethios.evaluation.reliability import ReliabilityDiagram, reliability_diagram
from promethios.ontology.governance_ontology import load_ontology


@dataclass(frozen=True)
class EvaluatedSet:
    """An evaluation set and what every system says about it.

    examples: n of them. scores: the model's, raw [n, 18]. decisions: the model's, deployed [n]. model and baselines:
    the systems compared. thresholds: of the examples' domains [n]. resamples: of the examples' families. seed: of what
    is drawn at random besides.
    """

    examples: Sequence[Example]
    scores: FloatArray
    decisions: list[str]
    model: System
    baselines: Mapping[str, System]
    thresholds: FloatArray
    resamples: Resamples
    seed: int

    @classmethod
    def of(
        cls,
        examples: Sequence[Example],
        scores: FloatArray,
        calibration: Calibration,
        baselines: Sequence[Baseline],
        seed: int,
    ) -> EvaluatedSet:
        """Decide on every example with the model and every baseline. Raises DatasetError for a single family."""
        resamples = Resamples([example.family or example.id for example in examples], seed=seed)
        thresholds = np.array([calibration.threshold(example.header_domain) for example in examples])
        degraded = degraded_of(examples)
        probabilities, decisions = model_decisions(scores, examples, calibration)
        systems = {}
        for baseline in baselines:
            probability = baseline.predict(examples)
            escalates = escalations(probability, thresholds, degraded)
            systems[baseline.key] = System(
                baseline.key, baseline.title, probability, escalates, baseline.kind, baseline.settings
            )
        model = model_system(probabilities, decisions)
        return cls(examples, scores, decisions, model, systems, thresholds, resamples, seed)

    @property
    def best_baseline(self) -> System:
        """The most accurate system that is no language model."""
        rivals = (system for system in self.baselines.values() if system.kind == "baseline")
        return max(rivals, key=lambda system: float((system.escalates == self.outcome).mean()))

    @cached_property
    def outcome(self) -> BoolArray:
        """Whether the expert escalated [n]: the truth."""
        return np.array([example.truth for example in self.examples])

    @cached_property
    def degraded(self) -> BoolArray:
        """Whose telemetry is degraded [n]."""
        return degraded_of(self.examples)

    @cached_property
    def miss_cost(self) -> FloatArray:
        """What a missed escalation costs in the example's domain, in needless reviews [n]."""
        domains = [load_ontology().domain(domain) for domain in self.domains]
        return np.array([domain.miss_cost / domain.review_cost for domain in domains])

    @cached_property
    def domains(self) -> list[str]:
        """The true domain of each example [n]; `general` where nobody says."""
        return [example.domain or "general" for example in self.examples]

    @cached_property
    def channels_disagree(self) -> BoolArray:
        """Where telemetry channels contradict each other [n]."""
        return channel_conflicts([example.state for example in self.examples])

    @cached_property
    def text_against_telemetry(self) -> BoolArray:
        """Where text alone and telemetry alone lead to different decisions [n]."""
        return np.not_equal(self.baselines["text"].escalates, self.baselines["tags"].escalates)

    def hitl(self, system: System) -> dict[str, Estimate]:
        """Return the HITL measures of a system."""
        return hitl_measures(system, self.outcome, self.thresholds, self.miss_cost, self.resamples)

    def gains(self, baseline: System) -> dict[str, Estimate]:
        """Return what the model gains over a baseline, paired: accuracy, and cost saved per request.

        `accuracy`: both under the deployed rule. `accuracy_at_threshold`: both at their domain's threshold alone.
        """
        of_model, of_baseline = self._accuracy_and_cost(self.model), self._accuracy_and_cost(baseline)
        rows = {
            "accuracy": of_model[0] - of_baseline[0],
            "accuracy_at_threshold": of_model[1] - of_baseline[1],
            "cost_saved": of_baseline[2] - of_model[2],
        }
        return {name: self.resamples.estimate(row) for name, row in rows.items()}

    def _accuracy_and_cost(self, system: System) -> tuple[FloatArray, FloatArray, FloatArray]:
        return (
            accuracy(system.escalates, self.outcome, self.resamples),
            accuracy(system.probability >= self.thresholds, self.outcome, self.resamples),
            expected_cost(system.escalates, self.outcome, self.miss_cost, self.resamples),
        )

    @cached_property
    def calibration(self) -> dict[str, Any]:
        """The model's calibration measures, the ECE and smECE that chance gives, and each domain's smECE."""
        probability, outcome = self.model.probability, self.outcome
        members = {domain: np.array(self.domains) == domain for domain in sorted(set(self.domains))}
        by_domain = smooth_ece_by_domain(probability, outcome, members)
        worst = max(by_domain, key=by_domain.__getitem__)
        return {
            **calibration_measures(probability, outcome, self.resamples),
            "chance_ece_15": chance_ece(probability, np.random.default_rng(self.seed)),
            "chance_smooth_ece": chance_smooth_ece(probability, np.random.default_rng(self.seed)),
            "smooth_ece_by_domain": by_domain,
            "worst_domain": worst,
        }

    def reliability(self) -> ReliabilityDiagram:
        """Return the model's reliability diagram."""
        return reliability_diagram(self.model.probability, self.outcome, self.resamples)

    def conflicts(self) -> dict[str, Estimate]:
        """Return the model's accuracy where signals conflict."""
        return conflict_measures(
            self.model.escalates, self.outcome, self.channels_disagree, self.text_against_telemetry, self.resamples
        )

    def heads(self) -> dict[str, dict[str, Estimate]]:
        """Return the measures of the scores beside the decision."""
        return head_measures(self.scores, self.examples, self.resamples)

    def by_domain(self, *, held_out: bool) -> list[DomainResult]:
        """Return the result of every domain in the set, compared with the best baseline's."""
        decided = (self.model.escalates, self.best_baseline.escalates, self.outcome)
        return domain_results(self.domains, *decided, load_ontology(), held_out=held_out)

    def governance_scores(self) -> dict[str, Estimate]:
        """Return the four measures of the seed and their mean, `overall`."""
        outcome, escalates, resamples = self.outcome, self.model.escalates, self.resamples
        required = {domain.name: domain.required_trust for domain in load_ontology().domains.values()}
        conflict = self.channels_disagree | self.text_against_telemetry
        values = {
            "hitl_accuracy": accuracy(escalates, outcome, resamples),
            "confidence_calibration": 1.0 - expected_calibration_error(self.model.probability, outcome, resamples),
            "domain_compliance": compliance_score(self.domains, escalates, outcome, required, resamples),
            "conflict_resolution": conflict_score(escalates, outcome, conflict, resamples),
        }
        values["overall"] = overall_score(*values.values())
        return {name: self.resamples.estimate(value) for name, value in values.items()}
