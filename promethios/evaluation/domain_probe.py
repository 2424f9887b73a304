"""The domain probe: how often is the model right about the domain of a request that names none, and from when on is it
believed?

The probe reads the prompt without its header. Its guess holds from a level on, which is fitted on calibration examples;
below it the request has no domain, and the most careful threshold. How good the guesses are is measured on families of
scenarios that training never showed, and on domains that it never showed: there every guess that holds is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from promethios.data.example import Example
from promethios.evaluation.intervals import BoolArray, FloatArray, Resamples, clopper_pearson_lower
from promethios.ontology.governance_ontology import load_ontology

Logits = NDArray[np.float32]
"""The probe's logits, [n, 32] by slot."""
PRECISION: Final = 0.95
"""Share of the guesses that hold which are right, at least."""
LEVELS: Final = tuple(step / 100 for step in range(99, 49, -1))
"""Tested in this order, from the most careful one on. A guess less likely than not never holds."""


def guesses(logits: Logits) -> tuple[list[str], FloatArray]:
    """Return the likeliest domain of each request and its probability [n], from the probe's logits [n, 32].

    Only slots of the ontology's domains count.
    """
    domains = list(load_ontology().domains.values())
    stated = logits[:, [domain.slot for domain in domains]].astype(np.float64)
    odds = np.exp(stated - stated.max(axis=1, keepdims=True))
    likeliest = odds.argmax(axis=1)
    return [domains[index].name for index in likeliest.tolist()], 1.0 / odds.sum(axis=1)


def fitted_level(logits: Logits | None, examples: Sequence[Example]) -> float | None:
    """Return the smallest level from which at least PRECISION of the guesses are right, with 95 % confidence.

    logits: the probe's [n, 32]; None without a probe. Levels are tested in their order up to the first that fails, as
    thresholds are (certificate_fit.py); one that so few guesses reach that no outcome could pass is no test. None when
    no level passes.
    """
    if logits is None:
        return None
    names, probability = guesses(logits)
    right = _right(names, examples)
    passed = None
    for level in LEVELS:
        held = probability >= level
        if clopper_pearson_lower(held.sum(), held.sum()) < PRECISION:
            continue
        if clopper_pearson_lower((held & right).sum(), held.sum()) < PRECISION:
            break
        passed = level
    return passed


def domain_probe_measures(
    logits: Mapping[str, Logits], sets: Mapping[str, Sequence[Example]], level: float | None, seed: int
) -> dict[str, Any]:
    """Return the level and, for each test set, how good the guesses are and how many hold.

    logits: the probe's on each set, [n, 32]. Intervals resample whole families; seed: of the draws.
    """
    return {"level": level, "sets": {name: _measures(logits[name], sets[name], level, seed) for name in sets}}


def domain_probe_line(report: Mapping[str, Any] | None) -> str:
    """Return what the report (as JSON holds it) says of the probe, in one or two sentences."""
    if report is None:
        return "The model has no domain probe: a request that names no domain has none."
    if report["level"] is None:
        return "The domain probe is never believed: no level is right often enough on the calibration examples."
    test, new = report["sets"]["test"], report["sets"]["held_out_domains"]
    return (
        f"The domain of a request that names none is guessed right in {test['accuracy']['value']:.1%} of the test "
        f"requests; from probability {report['level']:.2f} on the guess holds: {test['held']['value']:.1%} of them, "
        f"right in {_share(test['right_when_held']['value'])}. Of requests in domains that training never showed "
        f"{new['held']['value']:.1%} are taken for another."
    )


def _share(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1%}"


def _measures(logits: Logits, examples: Sequence[Example], level: float | None, seed: int) -> dict[str, Any]:
    names, probability = guesses(logits)
    right = _right(names, examples)
    held = probability >= (np.inf if level is None else level)
    resamples = Resamples([example.family or example.id for example in examples], seed=seed)
    return {
        "num_examples": len(examples),
        "accuracy": resamples.estimate(resamples.mean(right)),
        "held": resamples.estimate(resamples.mean(held)),
        "right_when_held": resamples.estimate(resamples.mean(right, held)),
    }


def _right(names: Sequence[str], examples: Sequence[Example]) -> BoolArray:
    return np.array([name == example.domain for name, example in zip(names, examples, strict=True)])
