"""What can be said of generated responses without knowing the set's own words: leaks, loops, endings, checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from promethios.data.example import Example
from promethios.evaluation.external_sets.own_set_measures import wilson_share
from promethios.evaluation.raw_metrics import raw_metrics
from promethios.evaluation.text_quality import ends_properly, has_loop, words
from promethios.ontology.governance_ontology import load_ontology


def response_measures(
    examples: Sequence[Example], decisions: Sequence[str], responses: Sequence[str]
) -> dict[str, Any]:
    """Return shares of responses that expose a raw metric, loop, end properly and keep the checks of their domain.

    `leaking` lists every response that exposes one, with what it exposes.
    """
    leaks = [raw_metrics(response, example.state) for example, response in zip(examples, responses, strict=True)]
    shares = {
        "leaks": [bool(found) for found in leaks],
        "loops": [has_loop(words(response)) for response in responses],
        "ends_properly": [ends_properly(response) for response in responses],
        "keeps_checks": [
            _keeps_checks(example, decision, response)
            for example, decision, response in zip(examples, decisions, responses, strict=True)
        ],
    }
    return {
        "num_responses": len(responses),
        "measures": {name: wilson_share(np.array(flags)) for name, flags in shares.items()},
        "leaking": [
            {"id": example.id, "response": response, "leaks": found}
            for example, response, found in zip(examples, responses, leaks, strict=True)
            if found
        ],
    }


def _keeps_checks(example: Example, decision: str, response: str) -> bool:
    checks = load_ontology().domain_checks(example.domain or "general", decision)
    return all(check.passes(response) for check in checks)
