"""Two threshold rules on the telemetry alone, each as a margin: below 0 it says "escalate".

Evaluation holds the model against them; wrapped mode, which has no scores, decides by them. Readings count whatever
their age: a bad one does not turn good by growing old.
"""

from __future__ import annotations

from typing import Final

from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.state import COMPETENCE_CHANNELS, GovernanceState

MINIMUM_RULE_THRESHOLD: Final = 0.4
"""The seed's escalation threshold, applied to the lowest competence channel."""


def trust_margin(state: GovernanceState | None, domain: str | None) -> float | None:
    """Return trust minus what the domain requires; None where the telemetry has no trust.

    A request that states no domain (None) is held to `general`. Raises ConfigError for an unknown one.
    """
    trust = state.trust if state else None
    required = load_ontology().domain(domain or "general").required_trust
    return None if trust is None else float(trust.value) - required


def minimum_margin(state: GovernanceState | None) -> float | None:
    """Return the lowest competence channel minus MINIMUM_RULE_THRESHOLD; None where the telemetry has none of them."""
    readings = [getattr(state, name) for name in COMPETENCE_CHANNELS] if state else []
    values = [float(reading.value) for reading in readings if reading is not None]
    return min(values) - MINIMUM_RULE_THRESHOLD if values else None
