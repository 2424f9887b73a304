"""What the pieces of the wrapper know about one request: set by the HTTP side, read and filled by the engine hook."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, Literal

from promethios.telemetry.state import GovernanceState
from promethios_serving.access.caller import ANONYMOUS, Caller
from promethios_serving.openai_errors import RequestRefused
from promethios_serving.telemetry.subject import EVERYBODY, Subject

DomainSource = Literal["request", "key", "default", "probe"]
"""Who named a request's domain: the request itself, its API key's tenant, the server's default, the model's probe."""


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
    degraded_channels: tuple[str, ...] = ()
    """Telemetry channels that were missing or stale."""
    scores: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()
    forced: bool = False
    """True when the tenant's policy made the decision more careful than the model's."""
    certified: bool = True
    """False in wrapped mode, whose model has no certificate."""
    principles: Mapping[str, float] | None = None
    """Share of each constitutional principle in what the last anchor attended to, by the ontology's id, the largest
    first; what lacks to 1 went to slots that stand for no principle. None where the model does not tell."""


@dataclass(slots=True, kw_only=True)
class GovernedRequest:
    """One governed request.

    route: its HTTP path. domain: the ontology's name, or None; domain_source: who named it. telemetry: what a trusted
    caller sent along. subject: whom the live telemetry is about. client_request_id: its x-request-id.
    outcome and refusal are filled in by the engine hook; at most one of them stays None.
    """

    route: str
    domain: str | None = None
    domain_source: DomainSource | None = None
    telemetry: GovernanceState | None = None
    caller: Caller = ANONYMOUS
    subject: Subject = EVERYBODY
    client_request_id: str | None = None
    messages: Sequence[Mapping[str, str]] = ()
    """The conversation as role and plain text, for reviewers; never logged."""
    experiment: Mapping[str, str] | None = None
    """`name` and `arm` of the experiment that routed the request here."""
    review_id: str | None = None
    """Set when a review of the answer was asked for and the client may wait for it; the same as `id`."""
    id: str = field(default_factory=lambda: f"gov-{uuid.uuid4().hex}")
    counted: bool = True
    """False for the warm-up and for a shadow of an experiment, which are no requests of a client."""
    started: bool = False
    tokens: int = 0
    """Of the prompt, the hidden rounds and the answer as far as it is spoken; the caller's token quota pays for all."""
    self_questions: list[str] = field(default_factory=list)
    """What the model asked itself before it decided, and its answers."""
    shows_reasoning: bool = False
    """True when the response has a place for them and the client wants it."""
    turned_away: Callable[[], None] | None = None
    """What gives back that which the request used up, when it ends undecided and may come again; called once."""
    outcome: Outcome | None = None
    refusal: RequestRefused | None = None


CURRENT: Final[ContextVar[GovernedRequest | None]] = ContextVar("promethios_request", default=None)
"""The governed request that this task works for; without one, the engine refuses to generate."""
