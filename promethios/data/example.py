"""One example: a JSON object on one line. Generated files hold every key; `data/README.md` says which ones are needed.

{"id": "train-00001",
 "messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}],
 "governance": {"state": {"trust": {"value": 0.72, "age_s": 12.0}, ...} or null, "domain": "healthcare" or null},
 "decision": "escalate", "behaviour": "low_confidence_hitl", "escalate": 1, "soft_label": [0.04, 0.0, 0.0, 0.96],
 "confidence": 0.31, "uncertainty": [6 numbers], "bias": [6 numbers], "tool": 0, "tool_state": "none",
 "self_questions": ["..."], "norms": ["..."], "family": "healthcare/dosage", "template": "...",
 "pair": {"id": "conflict-00001", "kind": "text_cue", "member": "a"} or null, "domain": "healthcare", "split": "train"}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from promethios.data.causes import EVIDENCE, TOOL_STATES
from promethios.data.json_lines import chat_messages, governance, known_domain, numbered_lines, parse_object, shown
from promethios.errors import DatasetError, nearest
from promethios.telemetry.header import DECISIONS, NUM_BIAS, NUM_UNCERTAINTY
from promethios.telemetry.state import GovernanceState

BEHAVIOURS: Final = ("high_confidence", "medium_confidence", "low_confidence_hitl", "uncertain_emotional_hitl")
PAIR_KINDS: Final = ("stale_channel", "text_cue", "spoof", "bias")
PAIR_MEMBERS: Final = ("a", "b")
SUM_TOLERANCE: Final = 1e-3
_REQUIRED: Final = {
    "messages": 'a list such as [{"role": "user", "content": "..."}]',
    "governance": '{"state": null, "domain": null} for a request without telemetry',
}
"""The keys that every line has, and what to give where one is missing."""
_OPTIONAL: Final = (
    "id", "decision", "behaviour", "escalate", "soft_label", "confidence", "uncertainty", "bias", "tool", "tool_state",
    "demand", "difficulty", "affect", "evidence", "self_questions", "norms", "family", "template", "pair", "domain",
    "split", "metadata",
)  # fmt: skip
_KNOWN: Final = frozenset((*_REQUIRED, *_OPTIONAL))

_NUMBERS: Final = (float, int)
_EVIDENCE_ALLOWED: Final = (
    'a list of objects with "message" (the number of one, from 0), "end" (a character of its content, from 1) and '
    f'"shows" (one of {", ".join(EVIDENCE)})'
)


@dataclass(frozen=True, slots=True)
class Pair:
    """The pair that an example is a member of: id, kind (one of PAIR_KINDS), member (one of PAIR_MEMBERS)."""

    id: str
    kind: str
    member: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """A remark in the request has been made by character `end` of the content of message number `message`.

    message: from 0. shows: one of EVIDENCE.
    """

    message: int
    end: int
    shows: str


class Labels(NamedTuple):
    """What training learns from one example; the fields are those of `Example`."""

    response: str
    decision: str
    soft_label: tuple[float, ...]
    confidence: float
    uncertainty: tuple[float, ...]
    bias: tuple[float, ...]
    tool: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A conversation, the telemetry it came with, and what should be decided and said.

    messages: chat messages; the assistant's response comes last, or is not there. state, header_domain: what the model
    is told (None: not told). Everything else may be unknown in a file that is not ours (None, or an empty tuple):
    decision: what `decide` makes of soft_label; behaviour: one of BEHAVIOURS. escalate: 1 when the expert took the
    request (the outcome, with noise). soft_label: probabilities of answer, caveat, clarify, escalate given all that is
    observable. confidence: P(competent for the plain question). uncertainty, bias: how much of each dimension and
    category the text shows, in [0, 1]. tool: 1 when a look-up is still to be made (tool_state needed or unreliable).
    tool_state: one of TOOL_STATES. demand, difficulty, affect: what the text alone shows, each in [0, 1]: the
    competence below which the expert would want the request, how hard the matter is, whether it weighs on the user.
    evidence: where in the request that is said, remark by remark.
    self_questions: questions to oneself, with their answers. norms: ids of norms in play. family: the scenario family,
    never shared between training and evaluation. template: id of the surface template. pair: the twin it belongs to.
    domain: the true domain; the header's, when a file does not say.
    """

    id: str
    messages: tuple[Mapping[str, str], ...]
    state: GovernanceState | None
    header_domain: str | None
    decision: str | None = None
    behaviour: str | None = None
    escalate: int | None = None
    soft_label: tuple[float, ...] = ()
    confidence: float | None = None
    uncertainty: tuple[float, ...] = ()
    bias: tuple[float, ...] = ()
    tool: int | None = None
    tool_state: str | None = None
    demand: float | None = None
    difficulty: float | None = None
    affect: float | None = None
    evidence: tuple[Evidence, ...] = ()
    self_questions: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()
    family: str | None = None
    template: str | None = None
    pair: Pair | None = None
    domain: str | None = None
    split: str | None = None

    @property
    def prompt(self) -> str:
        """The last user message."""
        return next(message["content"] for message in reversed(self.messages) if message["role"] == "user")

    @property
    def request(self) -> tuple[Mapping[str, str], ...]:
        """The messages that the model sees: all but the assistant's response."""
        return self.messages[:-1] if self.messages[-1]["role"] == "assistant" else self.messages

    @property
    def response(self) -> str:
        """The assistant's message that ends the conversation; empty when there is none."""
        return self.messages[-1]["content"] if self.messages[-1]["role"] == "assistant" else ""

    @property
    def truth(self) -> bool:
        """True when the request belonged to the expert: the outcome where it is known, else the decision."""
        return self.decision == "escalate" if self.escalate is None else bool(self.escalate)

    def labels(self) -> Labels:
        """Return what training needs. Raises DatasetError naming the example and the first thing that it lacks."""
        labels = {name: getattr(self, name) for name in Labels._fields}
        for name, value in labels.items():
            if value is None or value in ((), ""):
                raise DatasetError(
                    f"example {self.id}: {name} is missing; training needs {', '.join(Labels._fields)}: "
                    "generate the dataset with `promethios generate`, or add it"
                )
        return Labels(**labels)

    def to_mapping(self) -> dict[str, Any]:
        """Return the example as plain data, every key and every channel there: one schema for all lines."""
        return {
            "id": self.id,
            "messages": [dict(message) for message in self.messages],
            "governance": {"state": _plain_state(self.state), "domain": self.header_domain},
            "decision": self.decision,
            "behaviour": self.behaviour,
            "escalate": self.escalate,
            "soft_label": list(self.soft_label),
            "confidence": self.confidence,
            "uncertainty": list(self.uncertainty),
            "bias": list(self.bias),
            "tool": self.tool,
            "tool_state": self.tool_state,
            "demand": self.demand,
            "difficulty": self.difficulty,
            "affect": self.affect,
            "evidence": [{"message": e.message, "end": e.end, "shows": e.shows} for e in self.evidence],
            "self_questions": list(self.self_questions),
            "norms": list(self.norms),
            "family": self.family,
            "template": self.template,
            "pair": None if self.pair is None else asdict(self.pair),
            "domain": self.domain,
            "split": self.split,
        }

    def to_json_line(self) -> str:
        """Return the example as one line of JSON, without the line end."""
        return json.dumps(self.to_mapping())


def read_examples(path: Path) -> list[Example]:
    """Read a .jsonl file, ours or anybody's; blank lines do not count.

    Raises DatasetError naming file, line, what stands there, what may.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            examples = [_parse(line, path, number) for number, line in numbered_lines(lines)]
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; write it with `promethios generate --output_dir DIR`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from None
    if not examples:
        raise DatasetError(f"{path}: the file is empty; it must hold one JSON object a line")
    return examples


def _plain_state(state: GovernanceState | None) -> dict[str, Any] | None:
    if state is None:
        return None
    return {
        channel.name: None if reading is None else {"value": reading.value, "age_s": reading.age_s}
        for channel, reading in state
    }


def _parse(line: str, path: Path, number: int) -> Example:
    place = f"{path}:{number}"
    fields = parse_object(line, place)
    if not _KNOWN.issuperset(fields):
        key = next(key for key in fields if key not in _KNOWN)
        raise DatasetError(f"{place}: unknown key {shown(key)}{nearest(key, (*_REQUIRED, *_OPTIONAL))}")
    for key in _REQUIRED:
        if key not in fields:
            raise DatasetError(f"{place}: key {key!r} is missing; give {_REQUIRED[key]}")
    if fields.get("escalate") is None and fields.get("decision") is None:
        raise DatasetError(f"{place}: give 'escalate' (0 or 1) or 'decision': what was right for this request")
    return _Reader(fields, place).example(default_id=f"{path.stem}-{number:05d}")


class _Reader:
    """Takes the fields of one line by name and type; an optional key that is absent or null is not known."""

    def __init__(self, fields: Mapping[str, Any], place: str) -> None:
        self._fields = fields
        self._place = place

    def example(self, default_id: str) -> Example:
        state, header_domain = governance(self._fields["governance"], self._place)
        messages = chat_messages(self._fields["messages"], self._place)
        soft_label = self._probabilities("soft_label", len(DECISIONS))
        if soft_label and abs(sum(soft_label) - 1.0) > SUM_TOLERANCE:
            self._fail("soft_label", "four probabilities that sum to 1")
        return Example(
            id=self._name("id") or default_id,
            messages=messages,
            state=state,
            header_domain=header_domain,
            decision=self._one_of("decision", DECISIONS),
            behaviour=self._one_of("behaviour", BEHAVIOURS),
            escalate=self._one_of("escalate", (0, 1)),
            soft_label=soft_label,
            confidence=self._probability("confidence"),
            uncertainty=self._probabilities("uncertainty", NUM_UNCERTAINTY),
            bias=self._probabilities("bias", NUM_BIAS),
            tool=self._one_of("tool", (0, 1)),
            tool_state=self._one_of("tool_state", TOOL_STATES),
            demand=self._probability("demand"),
            difficulty=self._probability("difficulty"),
            affect=self._probability("affect"),
            evidence=self._evidence(messages),
            self_questions=self._texts("self_questions"),
            norms=self._texts("norms"),
            family=self._name("family"),
            template=self._text("template"),
            pair=self._pair(),
            domain=known_domain("domain", self._fields.get("domain"), self._place) or header_domain,
            split=self._text("split"),
        )

    def _fail(self, key: str, allowed: str) -> DatasetError:
        raise DatasetError(f"{self._place}: {key}={shown(self._fields[key])} is not allowed; give {allowed}")

    def _text(self, key: str) -> str | None:
        value = self._fields.get(key)
        if value is not None and (not isinstance(value, str) or not value):
            self._fail(key, "text")
        return value

    def _name(self, key: str) -> str | None:
        """Return a text; a whole number is taken as one."""
        value = self._fields.get(key)
        return str(value) if _is_whole(value) else self._text(key)

    def _texts(self, key: str) -> tuple[str, ...]:
        value = self._fields.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self._fail(key, "a list of texts")
        return tuple(value)

    def _one_of(self, key: str, allowed: Sequence[Any]) -> Any:
        value = self._fields.get(key)
        if isinstance(value, bool) or (value is not None and value not in allowed):
            self._fail(key, f"one of {', '.join(map(str, allowed))}")
        return value if value is None else allowed[allowed.index(value)]  # 1 for 1.0

    def _probability(self, key: str) -> float | None:
        value = self._fields.get(key)
        if value is None:
            return None
        if not _is_probability(value):
            self._fail(key, "numbers from 0 to 1")
        return float(value)

    def _probabilities(self, key: str, count: int) -> tuple[float, ...]:
        value = self._fields.get(key)
        # An empty list is how a file in our own form says that it does not know.
        if value is None or value == []:
            return ()
        if not isinstance(value, list) or len(value) != count:
            self._fail(key, f"a list of {count} numbers from 0 to 1")
        if not all(map(_is_probability, value)):
            self._fail(key, "numbers from 0 to 1")
        return tuple(map(float, value))

    def _evidence(self, messages: Sequence[Mapping[str, str]]) -> tuple[Evidence, ...]:
        evidence = self._fields.get("evidence")
        if evidence is None:
            return ()
        if not isinstance(evidence, list):
            self._fail("evidence", _EVIDENCE_ALLOWED)
        for item in evidence:
            is_complete = isinstance(item, dict) and set(item) == {"message", "end", "shows"}
            if not is_complete or not _is_whole(item["message"]) or item["shows"] not in EVIDENCE:
                self._fail("evidence", _EVIDENCE_ALLOWED)
            if not 0 <= item["message"] < len(messages) or not _is_whole(item["end"]):
                self._fail("evidence", _EVIDENCE_ALLOWED)
            if not 0 < item["end"] <= len(messages[item["message"]]["content"]):
                self._fail("evidence", _EVIDENCE_ALLOWED)
        return tuple(Evidence(**item) for item in evidence)

    def _pair(self) -> Pair | None:
        pair = self._fields.get("pair")
        if pair is None:
            return None
        if not isinstance(pair, dict) or set(pair) != {"id", "kind", "member"}:
            self._fail("pair", 'an object with "id", "kind" and "member", or null')
        if not isinstance(pair["id"], str) and not _is_whole(pair["id"]):
            self._fail("pair", "an id that is text")
        if pair["kind"] not in PAIR_KINDS or pair["member"] not in PAIR_MEMBERS:
            self._fail("pair", f"a kind of {', '.join(PAIR_KINDS)} and a member of {', '.join(PAIR_MEMBERS)}")
        return Pair(str(pair["id"]), pair["kind"], pair["member"])


def _is_whole(value: Any) -> bool:
    """True for a whole number, which True and False are not."""
    return type(value) is int


def _is_probability(value: Any) -> bool:
    return type(value) in _NUMBERS and 0 <= value <= 1
