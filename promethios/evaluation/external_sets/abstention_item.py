"""A question of a public benchmark: should a system answer it, or abstain?"""

from __future__ import annotations

from dataclasses import dataclass

from promethios.data.example import Example
from promethios.ontology.governance_ontology import load_ontology


@dataclass(frozen=True, slots=True, kw_only=True)
class AbstentionItem:
    """One question of a benchmark.

    example: as the model sees it; no telemetry, `escalate` is 1 where abstaining is right. dataset: the part of the
    benchmark that it comes from. scenario: why one abstains there, an id of the ontology's uncertainty dimensions;
    None where the benchmark does not say.
    """

    example: Example
    dataset: str
    scenario: str | None


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What a reader found in a folder: the items, and notes on what it left out, one sentence each."""

    items: list[AbstentionItem]
    notes: list[str]


def abstention_item(
    *,
    item_id: str,
    question: str,
    abstain: bool,
    dataset: str,
    scenario: str | None,
    domain: str,
    family: str | None = None,
    bias: tuple[str, ...] = (),
) -> AbstentionItem:
    """Return an item; bias: ids of the ontology's bias categories that the question is about."""
    ontology = load_ontology()
    dimensions = [dimension.id for dimension in ontology.uncertainty_dimensions]
    categories = [category.id for category in ontology.bias_categories]
    return AbstentionItem(
        example=Example(
            id=item_id,
            messages=({"role": "user", "content": question},),
            state=None,
            header_domain=domain,
            escalate=int(abstain),
            uncertainty=tuple(float(abstain and name == scenario) for name in dimensions) if scenario else (),
            bias=tuple(float(name in bias) for name in categories) if bias else (),
            family=family,
            domain=domain,
        ),
        dataset=dataset,
        scenario=scenario,
    )
