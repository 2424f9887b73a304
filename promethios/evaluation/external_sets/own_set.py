"""A test set in our own format, scored: what the model and the baselines say about each example, and what was right.

Examples of one `family` are resampled together. Where a file names none they count as independent: they are dealt to
NUM_BLOCKS blocks, and resampling blocks of independent examples is as good as resampling the examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from promethios.data.example import Example, read_examples
from promethios.evaluation.baselines import Baseline
from promethios.evaluation.calibration import Calibration
from promethios.evaluation.certificate import Certificate, deployed_threshold
from promethios.evaluation.decisions import System, deployed_escalations, is_degraded, model_decisions, model_system
from promethios.evaluation.evaluated_set import EvaluatedSet
from promethios.evaluation.evaluation_data import Pair, pairs_of
from promethios.evaluation.intervals import NUM_RESAMPLES, BoolArray, FloatArray, Resamples
from promethios.ontology.decision import decide

NUM_BLOCKS: Final = 500


def read_own_sets(paths: Sequence[Path]) -> tuple[list[Example], list[Pair]]:
    """Read JSONL files: every example, and the pairs, each of which belongs to one file.

    Raises DatasetError naming file and line, or pair.
    """
    examples, pairs = [], []
    for path in paths:
        of_file = read_examples(path)
        examples += of_file
        pairs += pairs_of([example for example in of_file if example.pair is not None], str(path))
    return examples, pairs


def in_clusters(examples: Sequence[Example]) -> list[Example]:
    """Return the examples, those without a family put into blocks."""
    return [
        example if example.family else replace(example, family=f"block {index % NUM_BLOCKS}")
        for index, example in enumerate(examples)
    ]


def resamples_of(examples: Sequence[Example], seed: int) -> Resamples:
    """Return the resamples of the examples' families; none for a single one, which shows no variation."""
    families = [example.family or "" for example in in_clusters(examples)]
    return Resamples(families, num=NUM_RESAMPLES if len(set(families)) > 1 else 0, seed=seed)


@dataclass(frozen=True)
class OwnSet:
    """A scored test set.

    evaluated: n examples with every system's decisions at the thresholds of cost. served_decisions: the model's [n] as
    serving takes them, at the certified thresholds where those are lower.
    """

    evaluated: EvaluatedSet
    served_decisions: list[str]
    certificate: Certificate

    @classmethod
    def of(
        cls,
        examples: Sequence[Example],
        scores: FloatArray,
        calibration: Calibration,
        certificate: Certificate,
        baselines: Sequence[Baseline],
        seed: int,
    ) -> OwnSet:
        """Decide on every example with the model and every baseline; scores: the model's, raw [n, 18]."""
        probabilities, decisions = model_decisions(scores, examples, calibration)
        domains = [example.header_domain for example in examples]
        evaluated = EvaluatedSet(
            examples=examples,
            scores=scores,
            decisions=decisions,
            model=model_system(probabilities, decisions),
            baselines={baseline.key: _system(baseline, examples, calibration) for baseline in baselines},
            thresholds=np.array([calibration.threshold(domain) for domain in domains]),
            resamples=resamples_of(examples, seed),
            seed=seed,
        )
        certified = [deployed_threshold(calibration, certificate, domain) for domain in domains]
        served = [
            decide(row, threshold, degraded=is_degraded(example.state))
            for row, threshold, example in zip(probabilities.tolist(), certified, examples, strict=True)
        ]
        return cls(evaluated, served, certificate)

    @property
    def examples(self) -> Sequence[Example]:
        """The examples, as they were read [n]."""
        return self.evaluated.examples

    @cached_property
    def served_escalates(self) -> BoolArray:
        """Whether the served decision is to escalate [n]."""
        return np.array([decision == "escalate" for decision in self.served_decisions])

    @property
    def has_families(self) -> bool:
        """True when every example names its family."""
        return all(example.family for example in self.examples)


def _system(baseline: Baseline, examples: Sequence[Example], calibration: Calibration) -> System:
    probability = baseline.predict(examples)
    escalates = deployed_escalations(probability, examples, calibration)
    return System(baseline.key, baseline.title, probability, escalates, baseline.kind)
