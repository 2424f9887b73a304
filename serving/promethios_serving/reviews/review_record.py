"""One answer for a person to look at: the record that an engine sends to the hub.

Its first keys are those of promethios/data/feedback_records.py's record, so that what the hub exports can be trained
on; the rest say who asked and which model decided. tests/serving/reviews keeps the two in step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.header import DECISIONS, NUM_UNCERTAINTY, SCORE_NAMES
from promethios.telemetry.state import GovernanceState
from promethios_serving.request_context import GovernedRequest

Because = Literal["escalated", "audit"]
_MAX_MESSAGES: Final = 1000
_MAX_TEXT: Final = 500_000
"""What a person reads, in characters; within what the hub takes, so that it refuses none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidingModel:
    """The model that decided: its name, its weights and its certificate; None in wrapped mode, which has neither."""

    name: str
    weights_sha256: str | None = None
    certificate_sha256: str | None = None


def review_record(
    request: GovernedRequest,
    state: GovernanceState | None,
    *,
    because: Because,
    propensity: float,
    response: str | None,
    engine: str,
    model: DecidingModel,
) -> dict[str, Any]:
    """Return the record of a decided request; `response` is None as long as the answer is not complete.

    propensity: probability that an answer of this kind is reviewed. A request that was escalated because its gate
    failed has no probability; the record says 1, with which it was treated, and has no `probabilities`.
    """
    outcome = request.outcome
    assert outcome is not None, "only a decided request is reviewed"
    return {
        "id": request.id,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "messages": _messages(request.messages),
        "governance": {"state": None if state is None else state.to_mapping(), "domain": request.domain},
        "decision": outcome.decision,
        "probability": 1.0 if outcome.probability is None else outcome.probability,
        "threshold": outcome.threshold,
        "response": None if response is None else _storable(response),
        "reviewed_because": because,
        "propensity": propensity,
        "tenant": request.caller.tenant,
        "subject": request.subject.to_mapping(),
        "request_id": request.client_request_id,
        "engine": engine,
        "model": asdict(model),
        "uncertainty": uncertainty(outcome.scores),
        "probabilities": dict(zip(DECISIONS, outcome.probabilities, strict=False)),
        "principles": None if outcome.principles is None else _principles(outcome.principles),
        "experiment": None if request.experiment is None else dict(request.experiment),
    }


def _principles(shares: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return what the model looked at when it decided, the largest weight first; the weights sum to 1.

    One entry has neither id nor sentence: the slots that stand for no principle, together.
    """
    named = load_ontology().principles
    fired: list[dict[str, Any]] = [
        {"id": name, "sentence": named[name].sentence if name in named else name, "weight": round(share, 4)}
        for name, share in shares.items()
    ]
    unnamed = round(1.0 - sum(shares.values()), 4)
    if unnamed > 0:
        fired.append({"id": None, "sentence": None, "weight": unnamed})
    return sorted(fired, key=lambda principle: -principle["weight"])


def _messages(messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return a conversation that the hub takes: its newest messages, among them one of the user's."""
    newest = messages[-_MAX_MESSAGES:]
    kept = [{"role": message["role"], "content": _storable(message["content"])} for message in newest]
    if not any(message["role"] == "user" for message in kept):
        kept.insert(0, {"role": "user", "content": ""})
    return kept


def _storable(text: str) -> str:
    """Return a text that every database takes: PostgreSQL has no NUL, UTF-8 no half surrogates; cut when endless."""
    if len(text) > _MAX_TEXT:
        text = f"{text[:_MAX_TEXT]} [{len(text) - _MAX_TEXT} more characters]"
    return text.encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")


def uncertainty(scores: tuple[float, ...]) -> dict[str, float]:
    """Return the probability of each uncertainty dimension from the model's scores; empty without scores."""
    first = SCORE_NAMES.index("uncertainty:0")
    logits = scores[first : first + NUM_UNCERTAINTY]
    dimensions = load_ontology().uncertainty_dimensions
    return {d.id: round(1 / (1 + math.exp(-max(-60.0, x))), 4) for d, x in zip(dimensions, logits, strict=False)}
