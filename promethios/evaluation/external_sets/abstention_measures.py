"""Abstention on a benchmark: precision, recall and F1, as AbstentionBench defines them.

A system abstains when it asks back or hands over: the decisions `clarify` and `escalate`. An answer with a caveat is an
answer. AbstentionBench finds abstentions by letting a judge read the response; here they are the decision itself.

F1 needs a yardstick: abstaining always has recall 1 and an F1 of 2 p / (1 + p) where a share p calls for it. It stands
beside every value, and the AUROC of P(clarify) + P(escalate) tells what the score is worth at any threshold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from promethios.evaluation.external_sets.abstention_item import AbstentionItem
from promethios.evaluation.external_sets.own_set import resamples_of
from promethios.evaluation.external_sets.own_set_measures import wilson_share
from promethios.evaluation.hitl_accuracy import auroc
from promethios.evaluation.intervals import BoolArray, FloatArray, ratio
from promethios.telemetry.header import DECISIONS, NUM_BIAS, SCORE_NAMES

ABSTENTIONS: Final = ("clarify", "escalate")
_ABSTAIN: Final = [DECISIONS.index(name) for name in ABSTENTIONS]
_FIRST_BIAS: Final = SCORE_NAMES.index("bias:0")


@dataclass(frozen=True)
class Abstentions:
    """A scored benchmark. probabilities: calibrated [n, 4]. decisions: as served [n]. scores: raw [n, 18]."""

    items: Sequence[AbstentionItem]
    probabilities: FloatArray
    decisions: Sequence[str]
    scores: FloatArray
    seed: int

    def report(self) -> dict[str, Any]:
        """Return the measures of everything, of each scenario and of each dataset, and of the bias scores if any.

        `mean_f1`: over the datasets, unweighted, where it is defined.
        """
        datasets = self._grouped([item.dataset for item in self.items])
        scores = [group["f1"].value for group in datasets.values() if math.isfinite(group["f1"].value)]
        return {
            "all": self._measures(np.ones(len(self.items), bool)),
            "mean_f1": sum(scores) / len(scores) if scores else math.nan,
            "scenarios": self._grouped([item.scenario or "" for item in self.items]),
            "datasets": datasets,
            "bias": self._bias(),
        }

    def accuracy(self) -> float:
        """Return the share of items on which the system abstains exactly when it should."""
        return float((self._abstains == self._should).mean())

    @property
    def _should(self) -> BoolArray:
        return np.array([item.example.truth for item in self.items])

    @property
    def _abstains(self) -> BoolArray:
        return np.isin(np.array(self.decisions), ABSTENTIONS)

    def _grouped(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        labels = np.array(names)
        return {name: self._measures(labels == name) for name in sorted(set(names) - {""})}

    def _measures(self, members: BoolArray) -> dict[str, Any]:
        should, abstains = self._should[members], self._abstains[members]
        resamples = resamples_of(
            [item.example for item, kept in zip(self.items, members, strict=True) if kept], self.seed
        )
        sums = resamples.sum(np.stack([abstains & should, abstains, should], axis=1))
        hits, abstained, wanted = sums.T
        values: Mapping[str, FloatArray] = {
            "precision": ratio(hits, abstained),
            "recall": ratio(hits, wanted),
            "f1": ratio(2.0 * hits, abstained + wanted),
            "auroc": auroc(self.probabilities[members][:, _ABSTAIN].sum(axis=1), should, resamples),
        }
        share = float(should.mean())
        return {
            "num_items": len(should),
            "should_abstain_share": share,
            "abstained_share": float(abstains.mean()),
            "accuracy": wilson_share(abstains == should),
            **{name: resamples.estimate(rows) for name, rows in values.items()},
            "f1_of_always_abstaining": 2.0 * share / (1.0 + share),
        }

    def _bias(self) -> dict[str, Any] | None:
        """Return how often the strongest bias score is a category of the question, where the benchmark has them."""
        about = np.array([item.example.bias or (0.0,) * NUM_BIAS for item in self.items]) > 0.0
        given = about.any(axis=1)
        if not given.any():
            return None
        strongest = self.scores[given, _FIRST_BIAS : _FIRST_BIAS + NUM_BIAS].argmax(axis=1)
        right = about[given][np.arange(len(strongest)), strongest]
        return {"num_items": len(right), "strongest_is_right": wilson_share(right)}
