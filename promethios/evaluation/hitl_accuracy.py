"""HITL accuracy: does the deployed decision hand over exactly when the expert did?

The truth is the expert's outcome (`Example.escalate`), which is noisy: no system reaches 1. Every function returns
one value for each row of the resamples (see `intervals`): [1 + num].
"""

from __future__ import annotations

import numpy as np

from promethios.evaluation.decisions import System
from promethios.evaluation.intervals import BoolArray, Estimate, FloatArray, Resamples, ratio


def accuracy(escalates: BoolArray, outcome: BoolArray, resamples: Resamples) -> FloatArray:
    """Return the share of items whose escalate-or-not equals the expert's."""
    return resamples.mean(escalates == outcome)


def balanced_accuracy(escalates: BoolArray, outcome: BoolArray, resamples: Resamples) -> FloatArray:
    """Return the mean of the accuracy on items the expert escalated and on those the expert did not."""
    return (resamples.mean(escalates, outcome) + resamples.mean(~escalates, ~outcome)) / 2.0


def missed_escalation(escalates: BoolArray, outcome: BoolArray, resamples: Resamples) -> FloatArray:
    """Return under-escalation: the share answered among the items that the expert escalated."""
    return resamples.mean(~escalates, outcome)


def over_escalation(escalates: BoolArray, outcome: BoolArray, resamples: Resamples) -> FloatArray:
    """Return the share handed over among the items that the expert did not escalate."""
    return resamples.mean(escalates, ~outcome)


def escalation_rate(escalates: BoolArray, resamples: Resamples) -> FloatArray:
    """Return the share of items handed over."""
    return resamples.mean(escalates)


def expected_cost(escalates: BoolArray, outcome: BoolArray, miss_cost: FloatArray, resamples: Resamples) -> FloatArray:
    """Return the mean cost per item in needless reviews: 1 for an escalation in vain, `miss_cost` [n] for a missed one.

    The seed's threshold of 0.4 is the cheapest one when a miss costs 1.5 of them (`ontology.decision.cost_threshold`).
    """
    return resamples.mean((escalates & ~outcome) + miss_cost * (~escalates & outcome))


def auroc(probability: FloatArray, outcome: BoolArray, resamples: Resamples) -> FloatArray:
    """Return the area under the ROC curve: P(an escalated item scores above another one), ties count one half."""
    # Pairs of an escalated item and one that was not, counted by the families of both: a resample repeats families.
    concordant = np.zeros((len(probability), len(resamples.families)))
    for column, members in enumerate(resamples.families):
        negatives = np.sort(probability[members & ~outcome])
        below = np.searchsorted(negatives, probability, side="left")
        not_above = np.searchsorted(negatives, probability, side="right")
        concordant[:, column] = outcome * (below + not_above) / 2.0
    pairs = resamples.by_family(concordant)
    total = ((resamples.counts @ pairs) * resamples.counts).sum(axis=1)
    return ratio(total, resamples.sum(outcome) * resamples.sum(~outcome))


def hitl_measures(
    system: System, outcome: BoolArray, thresholds: FloatArray, miss_cost: FloatArray, resamples: Resamples
) -> dict[str, Estimate]:
    """Return every HITL measure of one system on n items.

    outcome: the expert's [n]. thresholds: of the items' domains [n]; `accuracy_at_threshold` decides by them alone,
    without the extra care under degraded telemetry. miss_cost: what a missed escalation costs, in needless reviews [n].
    """
    probability, escalates = system.probability, system.escalates
    values = {
        "accuracy": accuracy(escalates, outcome, resamples),
        "accuracy_at_threshold": accuracy(probability >= thresholds, outcome, resamples),
        "balanced_accuracy": balanced_accuracy(escalates, outcome, resamples),
        "auroc": auroc(probability, outcome, resamples),
        "expected_cost": expected_cost(escalates, outcome, miss_cost, resamples),
        "missed_escalation": missed_escalation(escalates, outcome, resamples),
        "over_escalation": over_escalation(escalates, outcome, resamples),
        "escalation_rate": escalation_rate(escalates, resamples),
    }
    return {name: resamples.estimate(value) for name, value in values.items()}
