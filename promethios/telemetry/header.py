"""The token form of telemetry: reserved tokens, their order, and the header that ends every prompt.

    ... prompt | <|gov|> <|g:trust|> <|v:072|> ... <|domain:00|> <|v:075|> <|/gov|> | <|decide:escalate|> response

Each channel is its name and its value, `<|na|>` when missing, with a `<|stale:k|>` after the value when it is older
than its time-to-live. The domain is a slot number of the ontology and the trust that the domain requires: a new domain
is therefore read through a number the model knows. A header without telemetry still closes with `<|/gov|>`,
the position at which the model decides.

Reserved ids are contiguous. No text route can place them (serving scrubs them from client input) and the model cannot
sample them (their logits are out of reach), so neither side can forge telemetry nor leak it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from promethios.telemetry.state import CHANNELS, MAX_STALE_LEVEL, NUMBER_STEPS, GovernanceState, quantise, stale_level

DECISIONS: Final = ("answer", "caveat", "clarify", "escalate")
"""What the model decides before it speaks, in score order."""
NUM_UNCERTAINTY: Final = 6
NUM_BIAS: Final = 6
NUM_DOMAIN_SLOTS: Final = 32
"""Domains a vocabulary has room for; the ontology gives each domain a slot."""

SCORE_NAMES: Final = (
    *(f"decision:{name}" for name in DECISIONS),
    "confidence",
    *(f"uncertainty:{i}" for i in range(NUM_UNCERTAINTY)),
    *(f"bias:{i}" for i in range(NUM_BIAS)),
    "tool",
)
"""The model's governance scores, in order: four decision logits (softmax), then logits of probabilities (sigmoid)."""

HEADER_START: Final = "<|gov|>"
HEADER_END: Final = "<|/gov|>"
ASK: Final = "<|ask|>"
"""Opens a hidden round, a question to oneself with its answer, which stands before the header."""
MISSING: Final = "<|na|>"
VALUE_TOKENS: Final = tuple(f"<|v:{step:03d}|>" for step in range(NUMBER_STEPS + 1))
DECISION_TOKENS: Final = tuple(f"<|decide:{name}|>" for name in DECISIONS)
SCORE_TOKENS: Final = ("<|score:ref|>", *(f"<|score:{name}|>" for name in SCORE_NAMES))

RESERVED_TOKENS: Final = (
    HEADER_START,
    HEADER_END,
    MISSING,
    *(f"<|stale:{level}|>" for level in range(1, MAX_STALE_LEVEL + 1)),
    *(f"<|g:{channel.name}|>" for channel in CHANNELS),
    "<|g:domain|>",
    *VALUE_TOKENS,
    *(f"<|{channel.name}:{value}|>" for channel in CHANNELS for value in channel.values),
    *(f"<|domain:{slot:02d}|>" for slot in range(NUM_DOMAIN_SLOTS)),
    *DECISION_TOKENS,
    *SCORE_TOKENS,
    ASK,
)
"""Every reserved token; its index is its offset from the vocabulary's first reserved id. Append only."""

_OFFSETS: Final = {token: offset for offset, token in enumerate(RESERVED_TOKENS)}


@dataclass(frozen=True, slots=True)
class HeaderDomain:
    """A domain as the header names it: the ontology's slot and the trust that the domain requires."""

    slot: int
    required_trust: float


def header_tokens(state: GovernanceState | None, domain: HeaderDomain | None) -> list[str]:
    """Return the header's tokens; `None` for the state or the domain leaves that part out."""
    tokens = [HEADER_START]
    for channel, reading in state or ():
        tokens.append(f"<|g:{channel.name}|>")
        if reading is None:
            tokens.append(MISSING)
            continue
        value = reading.value
        tokens.append(f"<|{channel.name}:{value}|>" if isinstance(value, str) else _value_token(value))
        level = stale_level(channel, reading)
        if level:
            tokens.append(f"<|stale:{level}|>")
    if domain is not None:
        tokens += ["<|g:domain|>", f"<|domain:{domain.slot:02d}|>", _value_token(domain.required_trust)]
    tokens.append(HEADER_END)
    return tokens


@dataclass(frozen=True)
class ReservedIds:
    """The reserved ids of one vocabulary: contiguous from `first`."""

    first: int

    @property
    def end(self) -> int:
        """One past the last reserved id."""
        return self.first + len(RESERVED_TOKENS)

    def id(self, token: str) -> int:
        """Return a reserved token's id. Raises KeyError for a token that is not reserved."""
        return self.first + _OFFSETS[token]

    def __contains__(self, token_id: int) -> bool:
        return self.first <= token_id < self.end

    def header(self, state: GovernanceState | None, domain: HeaderDomain | None) -> list[int]:
        """Return the header's token ids (see `header_tokens`)."""
        return [self.first + _OFFSETS[token] for token in header_tokens(state, domain)]

    def scrub(self, token_ids: Iterable[int]) -> list[int]:
        """Return the ids without any reserved one."""
        return [token_id for token_id in token_ids if token_id not in self]

    def decision(self, name: str) -> int:
        """Return the id of a decision's token."""
        return self.id(f"<|decide:{name}|>")

    @cached_property
    def score_ids(self) -> tuple[int, ...]:
        """Ids of the score columns: the reference first, then one for each of SCORE_NAMES."""
        return tuple(self.id(token) for token in SCORE_TOKENS)

    @cached_property
    def domain_ids(self) -> tuple[int, ...]:
        """Ids of the domain tokens, by slot: in the header a domain, as columns what the domain probe says."""
        return tuple(self.id(f"<|domain:{slot:02d}|>") for slot in range(NUM_DOMAIN_SLOTS))

    @cached_property
    def value_ids(self) -> tuple[int, ...]:
        """Ids of the 101 number tokens, 0.00 to 1.00."""
        return tuple(self.id(token) for token in VALUE_TOKENS)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.end))


def _value_token(value: float) -> str:
    return VALUE_TOKENS[round(quantise(value) * NUMBER_STEPS)]
