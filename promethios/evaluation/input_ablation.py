"""Input ablation: does the model use both of its sources, and only for what they say?

    header shuffled   every request gets the telemetry and the stated domain of another one: what is left can come from
                      the text alone, so the accuracy should fall to what a reader of the text reaches, or below
    text removed      the messages are empty: what is left can come from the header alone

The accuracy that stays above the level of the one source left would be knowledge that neither the text nor the header
holds, such as a pattern of the dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from promethios.data.example import Example
from promethios.evaluation.decisions import System
from promethios.evaluation.hitl_accuracy import auroc
from promethios.evaluation.intervals import BoolArray, Estimate, Resamples
from promethios.evaluation.variation import next_in_random_order


def with_headers_shuffled(examples: Sequence[Example], rng: np.random.Generator) -> list[Example]:
    """Return every example with the telemetry and the stated domain of another one."""
    others = [examples[row] for row in next_in_random_order(len(examples), rng).tolist()]
    return [
        replace(example, state=other.state, header_domain=other.header_domain)
        for example, other in zip(examples, others, strict=True)
    ]


def without_text(examples: Sequence[Example]) -> list[Example]:
    """Return every example with one empty message of the user in place of its conversation."""
    return [replace(example, messages=({"role": "user", "content": ""},)) for example in examples]


def ablation_measures(
    whole: System, ablated: System, level: System, outcome: BoolArray, resamples: Resamples
) -> dict[str, Estimate]:
    """Return accuracy and AUROC without one source, what was lost, and what a system reaches that never had it.

    whole, ablated: the model with and without the source. level: the system that reads only the other source. outcome:
    the expert's [n]. `drop` and `above_level` are in accuracy, paired.
    """
    systems = (whole, ablated, level)
    of_whole, of_ablated, of_level = (resamples.mean(system.escalates == outcome) for system in systems)
    rows = {
        "accuracy": of_ablated,
        "auroc": auroc(ablated.probability, outcome, resamples),
        "drop": of_whole - of_ablated,
        "level": of_level,
        "level_auroc": auroc(level.probability, outcome, resamples),
        "above_level": of_ablated - of_level,
    }
    return {name: resamples.estimate(row) for name, row in rows.items()}
