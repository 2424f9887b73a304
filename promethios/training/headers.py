"""Headers alone, each with what its telemetry says of competence: cheap practice in reading telemetry.

A header is an eighth of an example's tokens, and the sum of text and telemetry is all that its decision shows, so
a small model learns from examples to add readings up, and hardly ever which of them not to count: a stale reading that
contradicts the others. From headers alone it learns that soon, and sooner when half of them hang on what is stale. They
are chosen by what can be seen, so that what they say of competence stays true.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np

from promethios.data import competence
from promethios.data.draws import FloatArray, uniforms
from promethios.data.example import Example
from promethios.model.encoding import EncodedExample, PromptEncoder
from promethios.ontology.governance_ontology import load_ontology
from promethios.training.packing import Target

BLOCK: Final = 2048
STALE_MATTERS: Final = 0.25
"""By how much the probabilities of the levels differ in sum from those of the same readings, all fresh."""
KEPT_OF_OTHERS: Final = 0.175
"""Share of the headers in which it does not matter. They are six in seven, so as many of either kind are kept."""


def draw_headers(encoder: PromptEncoder, examples: Sequence[Example], *, num_tokens: float, seed: int) -> list[Target]:
    """Return headers of telemetry that is drawn anew, about `num_tokens` long in all; the same for the same seed.

    examples: whose domains the headers name, in their order; what fresh readings they never show is not shown here.
    """
    domains = load_ontology().domains
    names = [example.header_domain for example in examples]
    targets: list[Target] = []
    left, number = num_tokens, 0
    while left > 0:
        telemetry, reached = _draw(seed, number)
        number += 1
        for row in range(len(telemetry)):
            if left <= 0:
                break
            domain = domains.get(names[len(targets) % len(names)] or "")
            ids = encoder.reserved.header(telemetry.state(row), None if domain is None else domain.header)
            targets.append(Target(EncodedExample(ids, len(ids) - 1), None, competence=reached[row].tolist()))
            left -= len(ids)
    return targets


def _draw(seed: int, number: int) -> tuple[competence.Telemetry, FloatArray]:
    """Return telemetry as the generator's training split takes it, but never absent, and the levels that it reaches.

    In half of it what is stale matters.
    """
    u = uniforms(BLOCK, 3 + competence.DRAW_COLUMNS, "headers", seed, number)
    affect = (u[:, 1] < 0.5).astype(np.int64)
    telemetry = competence.draw_telemetry(competence.draw_competence(u[:, 0]), affect, u[:, 3:])
    fresh = dataclasses.replace(telemetry, levels=np.zeros_like(telemetry.levels))
    reached = competence.levels_reached(telemetry)
    change = np.abs(reached - competence.levels_reached(fresh)).sum(axis=1)
    kept = (change > STALE_MATTERS) | (u[:, 2] < KEPT_OF_OTHERS)
    kept &= ~telemetry.absent & ~telemetry.shows_held_out_values()
    return telemetry[kept], reached[kept]
