"""The bodies that engines and reviewers send: wrong types and values, and people's unknown keys, are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator

from promethios.errors import TelemetryError
from promethios.telemetry.state import GovernanceState
from promethios_hub.redaction import redacted

DecisionName = Literal["answer", "caveat", "clarify", "escalate"]
Probability = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Key = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")]
LongName = Annotated[str, Field(min_length=1, max_length=200)]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,80}$")]
_FIRST_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_END_OF_TIME = datetime(2200, 1, 1, tzinfo=UTC)
MAX_TEXT = 1_000_000
_SEARCHED = 4_000
"""Characters of a question that the search knows."""


def _can_be_a_time(time: datetime) -> datetime:
    """Allow for clocks that were never set, not for times that have no equal in UTC."""
    if not _FIRST_TIME <= time < _END_OF_TIME:
        raise ValueError(f"must lie from {_FIRST_TIME:%Y} to before {_END_OF_TIME:%Y}; check the sender's clock")
    return time


Time = Annotated[AwareDatetime, Field(strict=False), AfterValidator(_can_be_a_time)]


class Strict(BaseModel):
    """A body without keys that nobody knows, and without a number where a text belongs."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _can_be_stored(cls, content: Any) -> Any:
        """PostgreSQL has no NUL, and UTF-8 no half of a surrogate pair."""
        for key, text in content.items() if isinstance(content, dict) else ():
            if isinstance(text, str) and ("\0" in text or (not text.isprintable() and _has_surrogate(text))):
                raise ValueError(f"{key} holds a character that cannot be stored (NUL or half a surrogate pair)")
        return content


class FromEngine(Strict):
    """A body that an engine sends.

    In an upgrade the engine may be newer than the hub. What the hub does not know yet is left out: refused, the review
    would be lost.
    """

    model_config = ConfigDict(extra="ignore", strict=True)


class Message(Strict):
    """One message of a conversation, as text."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[str, Field(max_length=MAX_TEXT)]


class Governance(Strict):
    """The telemetry that the model read, in the form of GovernanceState.to_mapping, and the domain."""

    state: dict[str, Any] | None
    domain: Name | None

    @field_validator("state")
    @classmethod
    def _is_a_state(cls, state: dict[str, Any] | None) -> dict[str, Any] | None:
        if state is not None:
            try:
                GovernanceState.from_mapping(state)
            except TelemetryError as error:
                raise ValueError(str(error)) from None
        return state


class Subject(Strict):
    """Whom telemetry is about; what is left out stands for all of them."""

    tenant: Name | None = None
    agent: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    session: Annotated[str, Field(min_length=1, max_length=128)] | None = None


class Model(Strict):
    """Which model decided."""

    name: LongName
    weights_sha256: Annotated[str, Field(max_length=200)] | None = None
    certificate_sha256: Annotated[str, Field(max_length=200)] | None = None


class ExperimentArm(Strict):
    """The experiment and the arm that answered."""

    name: Name
    arm: Name


class Principle(Strict):
    """A principle that the model looked at when it decided. weight: its share of the attention, of 1 over all.

    id and sentence are null for the slots that stand for no principle of the ontology, together.
    """

    id: Key | None
    sentence: Annotated[str, Field(min_length=1, max_length=1000)] | None
    weight: Probability


class Record(FromEngine):
    """One answer for a person to look at; the first keys are those of promethios/data/feedback_records.py."""

    id: Id
    time: Time
    messages: Annotated[list[Message], Field(min_length=1, max_length=2000)]
    governance: Governance
    decision: DecisionName
    probability: Probability
    threshold: Probability
    response: Annotated[str, Field(max_length=MAX_TEXT)] | None
    reviewed_because: Literal["escalated", "audit", "user_asked"]
    propensity: Annotated[float, Field(gt=0, le=1)] | None = None
    tenant: Name | None = None
    subject: Subject = Subject()
    request_id: Annotated[str, Field(max_length=200)] | None = None
    engine: Annotated[str, Field(max_length=200)] | None = None
    model: Model
    uncertainty: dict[Key, Probability] = Field(default_factory=dict, max_length=32)
    probabilities: dict[Key, Probability] = Field(default_factory=dict, max_length=8)
    principles: Annotated[list[Principle], Field(max_length=128)] | None = None
    experiment: ExperimentArm | None = None

    def row(self, *, redact: bool) -> dict[str, Any]:
        """Return the row of the table that engines fill; `redact`: without personal data in the texts."""
        clean = redacted if redact else _as_it_is
        messages = [{"role": message.role, "content": clean(message.content)} for message in self.messages]
        users = [message["content"] for message in messages if message["role"] == "user"]
        plain = self.model_dump(
            exclude={"messages", "governance", "response", "time"}, exclude_none=False, warnings=False
        )
        return {
            **plain,
            "arrived_at": datetime.now(UTC),
            "asked_at": self.time,
            "domain": self.governance.domain,
            "governance_state": self.governance.state,
            "messages": messages,
            "response": None if self.response is None else clean(self.response),
            "question": users[-1][:_SEARCHED] if users else "",
        }


class Reviews(Strict):
    """A batch of records."""

    reviews: Annotated[list[Record], Field(min_length=1, max_length=500)]


class Versioned(Strict):
    """A change to a review that the caller has seen at this version."""

    version: Annotated[int, Field(ge=1)]


class Decide(Versioned):
    """What the reviewer made of the answer."""

    action: Literal["approve", "edit", "override", "reject"]
    decision: DecisionName | None = None
    response: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)] | None = None


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _as_it_is(text: str) -> str:
    return text
