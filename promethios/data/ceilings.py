"""What is possible on a dataset: the best accuracy from telemetry only, from the text only, and from both.

The world is known, so these are not estimates of a learner but Bayes posteriors under the dataset's mixture. Quotas
multiply the weight of every situation (text, telemetry) by the quota of its domain and behaviour over their natural
share:

    both       p(y | text, telemetry): what the soft label holds
    telemetry  sum over all text causes (and over the domains, where the header names none)
    text       mean over NUM_DRAWS telemetry draws with a fixed seed

and are scored against the outcomes of the test split.

A telemetry channel on its own must not give the behaviour away either: `channel_distances` measures that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from promethios.data import competence
from promethios.data.causes import TEXT_CAUSES, TEXT_WEIGHTS
from promethios.data.draws import BoolArray, FloatArray, IntArray, uniforms
from promethios.data.example import BEHAVIOURS
from promethios.data.mixture import AFFECT, DATASET_VERSION, DIGITS, SHARES, Candidates, Split, behaviours
from promethios.telemetry.state import COMPETENCE_CHANNELS

NUM_DRAWS: Final = 1000
"""Draws of telemetry that a text-only view averages over, after the split's choice of telemetry."""
NATURAL_BLOCKS: Final = 16
"""Blocks of candidates that measure how often each behaviour occurs before the quotas."""
THRESHOLDS: Final = (0.5, 0.4)

Scores = dict[str, float]


def ceilings(split: Split, candidates: Candidates) -> dict[str, object]:
    """Return base rates, the three ceilings and the two threshold rules on one split's candidates."""
    outcome, probability = candidates.outcome, candidates.probability
    natural = natural_shares(split)
    ratio = quota_ratio(split, natural)
    return {
        "num_examples": len(outcome),
        "outcome_base_rate": _rounded(outcome.mean()),
        "decision_base_rate": _rounded((candidates.behaviour >= 2).mean()),
        "share_between_0.15_and_0.85": _rounded(((probability > 0.15) & (probability < 0.85)).mean()),
        "natural_shares": dict(zip(BEHAVIOURS, map(_rounded, natural.sum(axis=0)), strict=True)),
        "ceilings": {
            "telemetry_only": score(telemetry_only(split, candidates, ratio), outcome),
            "text_only": score(text_only(split, candidates, ratio), outcome),
            "both": score(probability, outcome),
        },
        "rules": {
            "never_escalate": _rounded(1.0 - outcome.mean()),
            "trust_below_required": _rounded((_trust_rule(split, candidates) == outcome).mean()),
            "any_competence_channel_below_0.4": _rounded((_minimum_rule(candidates) == outcome).mean()),
        },
    }


def view_of_all(members: Sequence[Candidates]) -> dict[str, object]:
    """Return what a reader of text and telemetry can reach on a set that has no quotas of behaviours."""
    probability, outcome = (np.concatenate([getattr(m, name) for m in members]) for name in ("probability", "outcome"))
    return {
        "num_examples": len(outcome),
        "outcome_base_rate": _rounded(outcome.mean()),
        "accuracy_at_0.5": _rounded(((probability >= 0.5) == outcome).mean()),
        "brier": _rounded(((probability - outcome) ** 2).mean()),
    }


def natural_shares(split: Split) -> FloatArray:
    """Return how often each domain and behaviour occurs before the quotas, [domains, behaviours]."""
    counts = np.zeros(len(split.domains) * len(BEHAVIOURS), dtype=np.int64)
    for number in range(NATURAL_BLOCKS):
        counts += np.bincount(split.cell(split.block(number)), minlength=len(counts))
    return np.asarray(counts / counts.sum()).reshape(-1, len(BEHAVIOURS))


def quota_ratio(split: Split, natural: FloatArray) -> FloatArray:
    """Return quota over natural share, [domains, behaviours]."""
    return np.array(SHARES) / len(split.domains) / natural


def channel_distances(candidates: Candidates) -> Scores:
    """Return for each channel how far it alone tells two behaviours apart: the largest Kolmogorov-Smirnov distance.

    The values of a channel of words are taken in their fixed order; missing readings are left out.
    """
    distances = {}
    for name, column in competence.COLUMN.items():
        value = candidates.telemetry.values[:, column]
        of_behaviour = [
            value[(candidates.behaviour == behaviour) & (value != competence.MISSING)]
            for behaviour in range(len(BEHAVIOURS))
        ]
        counts = np.array([np.bincount(values, minlength=value.max() + 1) for values in of_behaviour])
        cumulative = np.cumsum(counts, axis=1) / np.maximum(1, counts.sum(axis=1, keepdims=True))
        distances[name] = _rounded(np.ptp(cumulative, axis=0).max())
    return distances


def telemetry_only(split: Split, candidates: Candidates, ratio: FloatArray) -> FloatArray:
    """Return P(escalate | header) [n] under the mixture."""
    cumulative = _cumulative(competence.posterior(candidates.telemetry))
    degraded = candidates.telemetry.degraded()
    affect_likelihood = _affect_likelihood(candidates.telemetry)[:, AFFECT]
    top, bottom = np.zeros(len(degraded)), np.zeros(len(degraded))
    for representative, share in _domain_shares(split, candidates.family, candidates.header_dropped):
        probability = _outcome(cumulative, split.demand[representative])
        behaviour = behaviours(
            np.arange(len(TEXT_CAUSES)), probability, degraded[:, None], split.thresholds[representative]
        )
        weight = TEXT_WEIGHTS * affect_likelihood * ratio[split.domain[representative], behaviour] * share[:, None]
        top += (weight * probability).sum(axis=1)
        bottom += weight.sum(axis=1)
    return top / bottom


def text_only(split: Split, candidates: Candidates, ratio: FloatArray) -> FloatArray:
    """Return P(escalate | text) [n] under the mixture; the text tells the causes and the family."""
    telemetry = _drawn_telemetry(split)
    cumulative = _cumulative(competence.posterior(telemetry))
    degraded = telemetry.degraded()
    known: dict[tuple[int, int], float] = {}
    result = np.empty(len(candidates.causes))
    for row, (causes, family) in enumerate(zip(candidates.causes, candidates.family, strict=True)):
        key = (int(split.domain[family]), int(causes))
        if key not in known:
            probability = _outcome(cumulative, split.demand[family, causes][None])[:, 0]
            behaviour = behaviours(np.full(len(telemetry), causes), probability, degraded, split.thresholds[family])
            weight = ratio[split.domain[family], behaviour]
            known[key] = float((weight * probability).sum() / weight.sum())
        result[row] = known[key]
    return result


def score(probability: FloatArray, outcome: IntArray) -> Scores:
    """Return accuracy at THRESHOLDS, AUROC (ties count half) and Brier score of probabilities [n]."""
    scores = {f"accuracy_at_{t}": _rounded(((probability >= t) == outcome).mean()) for t in THRESHOLDS}
    scores["auroc"] = _rounded(auroc(probability, outcome))
    scores["brier"] = _rounded(((probability - outcome) ** 2).mean())
    return scores


def auroc(probability: FloatArray, outcome: IntArray) -> float:
    """Return the chance that a positive outcome has the higher probability; ties count half."""
    positive, negative = np.sort(probability[outcome == 1]), np.sort(probability[outcome == 0])
    below = np.searchsorted(negative, positive, side="left") + np.searchsorted(negative, positive, side="right")
    return float(below.sum() / 2 / (len(positive) * len(negative)))


def _drawn_telemetry(split: Split) -> competence.Telemetry:
    # Affect moves only emotion and intensity, which say nothing more once the text is known.
    no_affect = np.zeros(NUM_DRAWS, dtype=np.int64)
    kept: list[competence.Telemetry] = []
    while sum(map(len, kept)) < NUM_DRAWS:
        u = uniforms(NUM_DRAWS, 1 + competence.DRAW_COLUMNS, DATASET_VERSION, "ceilings", len(kept))
        telemetry = competence.draw_telemetry(competence.draw_competence(u[:, 0]), no_affect, u[:, 1:])
        kept.append(telemetry[split.takes(telemetry)])
    return competence.concatenate(kept)


def _cumulative(posterior: FloatArray) -> FloatArray:
    return np.concatenate([np.zeros((len(posterior), 1)), np.cumsum(posterior, axis=1)], axis=1)


def _outcome(cumulative: FloatArray, demands: IntArray) -> FloatArray:
    """Return the rounded P(escalate) [n, m] for every pair of a posterior and a demand."""
    below = cumulative[:, np.searchsorted(competence.GRID, demands, side="left")]
    return competence.outcome_probability(below).round(DIGITS)


def _affect_likelihood(telemetry: competence.Telemetry) -> FloatArray:
    """Return the likelihood of emotion and intensity [n, 2] without and with affect."""
    likelihood = np.ones((len(telemetry), 2))
    for name, table in (("emotion", competence.EMOTION), ("intensity", competence.INTENSITY_OF_AFFECT)):
        value = telemetry.values[:, competence.COLUMN[name]]
        seen = value != competence.MISSING
        likelihood[seen] *= (table / table.sum(axis=1, keepdims=True)).T[value[seen]]
    return likelihood


def _domain_shares(split: Split, family: IntArray, dropped: BoolArray) -> list[tuple[int, FloatArray]]:
    """Return, for each domain, one of its families and how likely it is for each row: known, or open when dropped."""
    names = [each.domain for each in split.families]
    domains = np.array(names)[family]
    shares = []
    for name in dict.fromkeys(names):
        prior = names.count(name) / len(names)
        shares.append((names.index(name), np.where(dropped, prior, domains == name)))
    return shares


def _trust_rule(split: Split, candidates: Candidates) -> BoolArray:
    """Escalate when trust is below what the domain requires; missing trust escalates."""
    trust = candidates.telemetry.values[:, competence.COLUMN["trust"]] / 100
    return np.asarray(trust < split.required_trust[candidates.family])


def _minimum_rule(candidates: Candidates) -> BoolArray:
    """Escalate when a competence channel is below 0.4; missing channels do not count."""
    columns = [competence.COLUMN[name] for name in COMPETENCE_CHANNELS]
    values = candidates.telemetry.values[:, columns]
    return np.asarray(((values != competence.MISSING) & (values < 40)).any(axis=1))


def _rounded(number: float) -> float:
    return round(float(number), 4)
