"""What is possible on a dataset: the best accuracy from telemetry only, from the text only, and from both.

The world is known, so these are not estimates of a learner but Bayes posteriors under the dataset's mixture. Quotas
multiply the weight of every situation (text, telemetry) by its behaviour's quota over that behaviour's natural share:

    both       p(y | text, telemetry): what the soft label holds
    telemetry  sum over all text causes (and over the domains, where the header names none)
    text       mean over NUM_DRAWS telemetry draws with a fixed seed

and are scored against the outcomes of the test split.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from promethios.data import competence
from promethios.data.causes import TEXT_CAUSES, TEXT_WEIGHTS
from promethios.data.draws import BoolArray, FloatArray, IntArray, uniforms
from promethios.data.example import BEHAVIOURS
from promethios.data.mixture import AFFECT, BLOCK, DATASET_VERSION, DIGITS, SHARES, Candidates, Split, behaviours
from promethios.telemetry.state import COMPETENCE_CHANNELS

NUM_DRAWS: Final = 1000
NATURAL_BLOCKS: Final = 16
"""Blocks of candidates that measure how often each behaviour occurs before the quotas."""
THRESHOLDS: Final = (0.5, 0.4)

Scores = dict[str, float]


def ceilings(split: Split, candidates: Candidates) -> dict[str, object]:
    """Return base rates, the three ceilings and the two threshold rules on one split's candidates."""
    outcome, probability = candidates.outcome, candidates.probability
    ratio = quota_ratio(split)
    return {
        "num_examples": len(outcome),
        "outcome_base_rate": _rounded(outcome.mean()),
        "decision_base_rate": _rounded((candidates.behaviour >= 2).mean()),
        "share_between_0.15_and_0.85": _rounded(((probability > 0.15) & (probability < 0.85)).mean()),
        "natural_shares": dict(zip(BEHAVIOURS, map(_rounded, np.array(SHARES) / ratio), strict=True)),
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


def quota_ratio(split: Split) -> FloatArray:
    """Return quota over natural share for each of BEHAVIOURS."""
    counts = np.zeros(len(BEHAVIOURS), dtype=np.int64)
    for number in range(NATURAL_BLOCKS):
        counts += np.bincount(split.block(number).behaviour, minlength=len(BEHAVIOURS))
    return np.array(SHARES) * NATURAL_BLOCKS * BLOCK / counts


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
        weight = TEXT_WEIGHTS * affect_likelihood * ratio[behaviour] * share[:, None]
        top += (weight * probability).sum(axis=1)
        bottom += weight.sum(axis=1)
    return top / bottom


def text_only(split: Split, candidates: Candidates, ratio: FloatArray) -> FloatArray:
    """Return P(escalate | text) [n] under the mixture; the text tells the causes and the family."""
    u = uniforms(NUM_DRAWS, 1 + competence.DRAW_COLUMNS, DATASET_VERSION, "ceilings")
    # Affect moves only emotion and intensity, which say nothing more once the text is known.
    telemetry = competence.draw_telemetry(competence.draw_competence(u[:, 0]), np.zeros(NUM_DRAWS, np.int64), u[:, 1:])
    cumulative = _cumulative(competence.posterior(telemetry))
    degraded = telemetry.degraded()
    known: dict[tuple[int, float, int], float] = {}
    result = np.empty(len(candidates.causes))
    for row, (causes, family) in enumerate(zip(candidates.causes, candidates.family, strict=True)):
        key = (int(split.demand[family, causes]), float(split.thresholds[family]), int(causes))
        if key not in known:
            probability = _outcome(cumulative, np.array([key[0]]))[:, 0]
            weight = ratio[behaviours(np.full(NUM_DRAWS, causes), probability, degraded, np.array(key[1]))]
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
