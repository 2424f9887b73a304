"""Every measure that the keys of an own test set allow; what a file does not say is left out.

Shares of examples come with Wilson intervals (`wilson_share`), everything else with intervals from resampling families.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from promethios.data.example import Example
from promethios.evaluation.bias_pairs import bias_pair_measures
from promethios.evaluation.decisions import System
from promethios.evaluation.evaluation_data import Pair
from promethios.evaluation.external_sets.own_set import OwnSet, resamples_of
from promethios.evaluation.hitl_accuracy import auroc
from promethios.evaluation.intervals import (
    BoolArray,
    Estimate,
    FloatArray,
    clopper_pearson_upper,
    wilson_interval,
)
from promethios.evaluation.spoofing import spoofing_measures
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.header import DECISIONS

Target = Callable[[Example], float | None]


def wilson_share(flags: BoolArray) -> Estimate:
    """Return the share of True, with its Wilson interval; NaN without any."""
    value = float(flags.mean()) if len(flags) else float("nan")
    return Estimate(value, *wilson_interval(int(flags.sum()), len(flags)))


def system_measures(own: OwnSet, system: System) -> dict[str, Any]:
    """Return a system's measures at the thresholds of cost, and what the model gains over it."""
    evaluated = own.evaluated
    right = system.escalates == evaluated.outcome
    is_model = system is evaluated.model
    return {
        "key": system.key,
        "title": system.title,
        "kind": system.kind,
        "measures": {**evaluated.hitl(system), "accuracy_wilson": wilson_share(right)},
        "model_gains": {} if is_model else evaluated.gains(system),
    }


def served_measures(own: OwnSet) -> dict[str, Any]:
    """Return what serving would have answered, and missed, under the certificate."""
    return _served(own, np.ones(len(own.examples), bool))


def by_domain(own: OwnSet) -> list[dict[str, Any]]:
    """Return accuracy, what was served, and the certificate's limit for every domain, `none` where none is stated."""
    stated = np.array([example.header_domain or "none" for example in own.examples])
    rows = []
    for name in sorted(set(stated.tolist())):
        certified = own.certificate.domains.get(name)
        rows.append({"domain": name, **_group(own, stated == name), "risk_limit": certified and certified.risk_limit})
    return rows


def by_family(own: OwnSet) -> list[dict[str, Any]]:
    """Return accuracy and what was served for every family that is named, the least accurate first."""
    families = np.array([example.family or "" for example in own.examples])
    names = sorted(set(families.tolist()) - {""})
    rows = [{"family": name, **_group(own, families == name)} for name in names]
    return sorted(rows, key=lambda row: float(row["accuracy"].value))


def decision_measures(own: OwnSet) -> dict[str, Any] | None:
    """Return how often the one decision of four is right, and the table of counts; None where no decision is given.

    confusion: right decision -> the model's -> how many.
    """
    given = [
        (example.decision, decision)
        for example, decision in zip(own.examples, own.evaluated.decisions, strict=True)
        if example.decision is not None
    ]
    if not given:
        return None
    return {
        "num_examples": len(given),
        "accuracy": wilson_share(np.array([right == decided for right, decided in given])),
        "confusion": {right: {name: given.count((right, name)) for name in DECISIONS} for right in DECISIONS},
    }


def head_measures_where_given(examples: Sequence[Example], scores: FloatArray, seed: int) -> dict[str, dict[str, Any]]:
    """Return AUROC and mean absolute error of each score beside the decision, over the examples that give its target.

    scores: raw, [n, 18]. A score without any target is left out; one whose targets are all alike has no AUROC.
    """
    heads = {}
    for column, (name, target) in enumerate(_targets(), len(DECISIONS)):
        values = [target(example) for example in examples]
        given = np.array([value is not None for value in values])
        if not given.any():
            continue
        truth = np.array([value for value in values if value is not None], np.float64)
        probability = 0.5 * (1.0 + np.tanh(0.5 * scores[given, column].astype(np.float64)))
        resamples = resamples_of([example for example, kept in zip(examples, given, strict=True) if kept], seed)
        heads[name] = {
            "num_examples": len(truth),
            "auroc": resamples.estimate(auroc(probability, truth >= 0.5, resamples)),
            "mean_absolute_error": resamples.estimate(resamples.mean(np.abs(probability - truth))),
        }
    return heads


def pair_measures(own: OwnSet, pairs: Sequence[Pair]) -> dict[str, dict[str, Any]]:
    """Return for each kind of pair how often both members are right and, where it applies, what that kind is about.

    Right is the given `decision`, else `escalate`: an outcome is noisy, a decision that somebody wrote down is not.
    pairs: of examples of the set.
    """
    index_of = {id(example): index for index, example in enumerate(own.examples)}
    kinds = sorted({pair[0].pair.kind for pair in pairs if pair[0].pair is not None})
    by_kind = {}
    for kind in kinds:
        of_kind = [pair for pair in pairs if pair[0].pair is not None and pair[0].pair.kind == kind]
        index = np.array([[index_of[id(member)] for member in pair] for pair in of_kind])
        truth = np.array([[_is_escalation(member) for member in pair] for pair in of_kind])
        escalates = own.evaluated.model.escalates[index]
        probability = own.evaluated.model.probability[index]
        by_kind[kind] = {
            "num_pairs": len(of_kind),
            "pair_accuracy": wilson_share((escalates == truth).all(axis=1)),
            "same_decision": wilson_share(escalates[:, 0] == escalates[:, 1]),
        }
        if kind == "spoof":
            by_kind[kind].update(spoofing_measures(probability, escalates))
        if kind == "bias":
            first_members = [pair[0] for pair in of_kind]
            by_kind[kind].update(bias_pair_measures(probability, escalates, resamples_of(first_members, 0)))
    return by_kind


def _group(own: OwnSet, members: BoolArray) -> dict[str, Any]:
    evaluated = own.evaluated
    right = evaluated.model.escalates == evaluated.outcome
    return {
        "num_examples": int(members.sum()),
        "expert_escalation_rate": float(evaluated.outcome[members].mean()),
        "accuracy": wilson_share(right[members]),
        **_served(own, members),
    }


def _served(own: OwnSet, members: BoolArray) -> dict[str, Any]:
    answered, outcome = ~own.served_escalates[members], own.evaluated.outcome[members]
    num_missed = int((answered & outcome).sum())
    return {
        "auto_answered_share": wilson_share(answered),
        "num_answered": int(answered.sum()),
        "num_missed": num_missed,
        "missed_share": num_missed / len(answered),
        "missed_upper_bound": float(clopper_pearson_upper(num_missed, len(answered))),
        "served_accuracy": wilson_share(own.served_escalates[members] == outcome),
    }


def _is_escalation(example: Example) -> bool:
    return example.truth if example.decision is None else example.decision == "escalate"


def _targets() -> Iterable[tuple[str, Target]]:
    """Yield name and target of each score beside the decision, in SCORE_NAMES order."""
    ontology = load_ontology()
    yield "confidence", lambda example: example.confidence
    for position, dimension in enumerate(ontology.uncertainty_dimensions):
        yield f"uncertainty: {dimension.id}", _entry("uncertainty", position)
    for position, category in enumerate(ontology.bias_categories):
        yield f"bias: {category.id}", _entry("bias", position)
    yield "tool", lambda example: example.tool


def _entry(name: str, position: int) -> Target:
    def target(example: Example) -> float | None:
        values: Sequence[float] = getattr(example, name)
        return values[position] if values else None

    return target
