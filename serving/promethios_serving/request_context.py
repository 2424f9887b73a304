"""What the pieces of the wrapper know about one request: set by the HTTP side, read and filled by the engine hook."""

from __future__ import annotations

import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from promethios.telemetry.state import GovernanceState
from promethios_serving.openai_errors import RequestRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the gate decided.

    probability: calibrated probability of escalation; None when the gate failed and the request was escalated.
    threshold: the probability from which this request escalates. scores: raw logits in SCORE_NAMES order.
    """

    decision: str
    probability: float | None
    threshold: float
    degraded: bool
    scores: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()


@dataclass(slots=True, kw_only=True)
class GovernedRequest:
    """One governed request.

    route: its HTTP path. domain: the ontology's name, or None. telemetry: what a trusted caller sent along.
    outcome and refusal are filled in by the engine hook; at most one of them stays None.
    """

    route: str
    domain: str | None = None
    telemetry: GovernanceState | None = None
    id: str = field(default_factory=lambda: f"gov-{uuid.uuid4().hex}")
    counted: bool = True
    """False for the warm-up, which is no request of a client."""
    started: bool = False
    outcome: Outcome | None = None
    refusal: RequestRefused | None = None


CURRENT: Final[ContextVar[GovernedRequest | None]] = ContextVar("promethios_request", default=None)
"""The governed request that this task works for; without one, the engine refuses to generate."""
