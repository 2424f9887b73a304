"""One training example: a JSON object on one line.

{"id": "train-00001",
 "messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}],
 "governance": {"state": {"trust": 0.72, ...} or null, "domain": "healthcare" or null},
 "decision": "escalate", "behaviour": "low_confidence_hitl", "escalate": 1, "soft_label": [0.04, 0.0, 0.0, 0.96],
 "confidence": 0.31, "uncertainty": [6 numbers], "bias": [6 numbers], "tool": 0, "norms": ["..."],
 "family": "healthcare/dosage", "domain": "healthcare", "split": "train"}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from promethios.errors import DatasetError, TelemetryError, nearest
from promethios.telemetry.header import DECISIONS, NUM_BIAS, NUM_UNCERTAINTY
from promethios.telemetry.state import GovernanceState

BEHAVIOURS: Final = ("high_confidence", "medium_confidence", "low_confidence_hitl", "uncertain_emotional_hitl")
SUM_TOLERANCE: Final = 1e-3
_KEYS: Final = (
    "id", "messages", "governance", "decision", "behaviour", "escalate", "soft_label", "confidence", "uncertainty",
    "bias", "tool", "norms", "family", "domain", "split",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A conversation, the telemetry it came with, and what should be decided and said.

    messages: chat messages, the last from the assistant. state, header_domain: what the model is told (None: not told).
    decision: what `decide` makes of soft_label; behaviour: one of BEHAVIOURS. escalate: 1 when the expert took the
    request (the outcome, with noise: the truth of an evaluation). soft_label: probabilities of answer, caveat, clarify,
    escalate given all that is observable. confidence: P(competent for the plain question). uncertainty, bias: how much
    of each dimension and category the text shows, in [0, 1]. tool: 1 when a look-up is asked for. norms: ids of norms
    in play. family: the scenario family, never shared between training and evaluation. domain: the true domain.
    """

    id: str
    messages: tuple[Mapping[str, str], ...]
    state: GovernanceState | None
    header_domain: str | None
    decision: str
    behaviour: str
    escalate: int
    soft_label: tuple[float, ...]
    confidence: float
    uncertainty: tuple[float, ...]
    bias: tuple[float, ...]
    tool: int
    norms: tuple[str, ...]
    family: str
    domain: str
    split: str

    @property
    def prompt(self) -> str:
        """The last user message."""
        return next(message["content"] for message in reversed(self.messages) if message["role"] == "user")

    @property
    def response(self) -> str:
        """The assistant's message that ends the conversation."""
        return self.messages[-1]["content"]

    def to_json_line(self) -> str:
        """Return the example as one line of JSON, without the line end."""
        return json.dumps(
            {
                "id": self.id,
                "messages": self.messages,
                "governance": {
                    "state": None if self.state is None else self.state.to_mapping(),
                    "domain": self.header_domain,
                },
                "decision": self.decision,
                "behaviour": self.behaviour,
                "escalate": self.escalate,
                "soft_label": self.soft_label,
                "confidence": self.confidence,
                "uncertainty": self.uncertainty,
                "bias": self.bias,
                "tool": self.tool,
                "norms": self.norms,
                "family": self.family,
                "domain": self.domain,
                "split": self.split,
            }
        )


def read_examples(path: Path) -> list[Example]:
    """Read a .jsonl file. Raises DatasetError naming the file, the line, what stands there and what is allowed."""
    try:
        with path.open(encoding="utf-8") as lines:
            examples = [_parse(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; write it with `promethios generate --output_dir DIR`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from None
    if not examples:
        raise DatasetError(f"{path}: the file is empty; it must hold one JSON object a line")
    return examples


def _parse(line: str, place: str) -> Example:
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as error:
        raise DatasetError(f"{place}: not JSON ({error.msg} at column {error.colno}): {line.strip()[:40]!r}") from None
    if not isinstance(fields, dict):
        raise DatasetError(f"{place}: must be a JSON object, found {type(fields).__name__}")
    for key in fields:
        if key not in _KEYS:
            raise DatasetError(f"{place}: unknown key {key!r}{nearest(key, _KEYS)}")
    for key in _KEYS:
        if key not in fields:
            raise DatasetError(f"{place}: key {key!r} is missing")
    return _Reader(fields, place).example()


class _Reader:
    """Takes the fields of one line by name and type."""

    def __init__(self, fields: Mapping[str, Any], place: str) -> None:
        self._fields = fields
        self._place = place

    def example(self) -> Example:
        state, header_domain = self._governance()
        soft_label = self._probabilities("soft_label", len(DECISIONS))
        if abs(sum(soft_label) - 1.0) > SUM_TOLERANCE:
            self._fail("soft_label", "four probabilities that sum to 1")
        return Example(
            id=self._text("id"),
            messages=self._messages(),
            state=state,
            header_domain=header_domain,
            decision=self._one_of("decision", DECISIONS),
            behaviour=self._one_of("behaviour", BEHAVIOURS),
            escalate=self._one_of("escalate", (0, 1)),
            soft_label=soft_label,
            confidence=self._probability("confidence", self._fields["confidence"]),
            uncertainty=self._probabilities("uncertainty", NUM_UNCERTAINTY),
            bias=self._probabilities("bias", NUM_BIAS),
            tool=self._one_of("tool", (0, 1)),
            norms=self._texts("norms"),
            family=self._text("family"),
            domain=self._text("domain"),
            split=self._text("split"),
        )

    def _fail(self, key: str, allowed: str) -> DatasetError:
        raise DatasetError(f"{self._place}: {key}={self._fields[key]!r:.80} is not allowed; give {allowed}")

    def _text(self, key: str) -> str:
        value = self._fields[key]
        if not isinstance(value, str) or not value:
            self._fail(key, "text")
        return str(value)

    def _texts(self, key: str) -> tuple[str, ...]:
        value = self._fields[key]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self._fail(key, "a list of texts")
        return tuple(value)

    def _one_of(self, key: str, allowed: Sequence[Any]) -> Any:
        value = self._fields[key]
        if isinstance(value, bool) or value not in allowed:
            self._fail(key, f"one of {', '.join(map(str, allowed))}")
        return value

    def _probability(self, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            self._fail(key, "numbers from 0 to 1")
        return float(value)

    def _probabilities(self, key: str, count: int) -> tuple[float, ...]:
        value = self._fields[key]
        if not isinstance(value, list) or len(value) != count:
            self._fail(key, f"a list of {count} numbers from 0 to 1")
        return tuple(self._probability(key, item) for item in value)

    def _messages(self) -> tuple[Mapping[str, str], ...]:
        messages = self._fields["messages"]
        allowed = "chat messages with a role and a content, among them a user's, the last one the assistant's"
        if not isinstance(messages, list):
            self._fail("messages", allowed)
        for message in messages:
            if not isinstance(message, dict) or not all(isinstance(message.get(k), str) for k in ("role", "content")):
                self._fail("messages", allowed)
        roles = [message["role"] for message in messages]
        if "user" not in roles or roles[-1] != "assistant":
            self._fail("messages", allowed)
        return tuple(messages)

    def _governance(self) -> tuple[GovernanceState | None, str | None]:
        governance = self._fields["governance"]
        if not isinstance(governance, dict) or set(governance) != {"state", "domain"}:
            self._fail("governance", 'an object with "state" and "domain", each of which may be null')
        if not isinstance(governance["domain"], str | None):
            self._fail("governance", "the name of a domain, or null")
        if governance["state"] is None:
            return None, governance["domain"]
        try:
            return GovernanceState.from_mapping(governance["state"]), governance["domain"]
        except TelemetryError as error:
            raise DatasetError(f"{self._place}: governance.state: {error}") from None
