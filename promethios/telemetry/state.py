"""The governance state: eight channels of live telemetry, each with a value and an age.

A number lies on a 0.01 grid in [0, 1]. A channel older than its time-to-live is stale; an absent one is missing.
Every consumer (tags, header tokens, data, serving) is driven by `CHANNELS`.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, TypeGuard

from promethios.errors import TelemetryError, nearest

EMOTIONS: Final = ("FOCUSED", "CALM", "CURIOUS", "CAUTIOUS", "UNCERTAIN", "CONFLICTED", "ANXIOUS", "OVERWHELMED")
PIPELINE_DECISIONS: Final = ("PENDING", "APPROVED", "REJECTED", "ESCALATED")
MODEL_AGREEMENT: Final = ("CONSENSUS", "MAJORITY", "SPLIT", "SINGLE")

NUMBER_STEPS: Final = 100
"""Numbers lie on a grid of 1/100: 101 values."""
MAX_STALE_LEVEL: Final = 4
MAX_CLOCK_SKEW_S: Final = 5.0
MAX_AGE_S: Final = 999_999_999.0
"""Older readings are taken as this old (31 years): what the text form can hold."""
_MAX_UNIX_S: Final = 1e12


@dataclass(frozen=True, slots=True)
class Channel:
    """One telemetry channel.

    name: as written in a tag. values: the allowed words, empty for a number in [0, 1].
    ttl_s: seconds after which a reading is stale. description: one sentence for documents and errors.
    """

    name: str
    values: tuple[str, ...]
    ttl_s: float
    description: str

    @property
    def is_number(self) -> bool:
        """True for a channel whose value is a number in [0, 1]."""
        return not self.values

    @property
    def allowed(self) -> str:
        """What a value may be, in words for an error message."""
        return "a number, clamped to [0, 1]" if self.is_number else ", ".join(self.values)


CHANNELS: Final = (
    Channel("trust", (), 60.0, "Rolling trust score of the deployment on requests of this kind."),
    Channel("verify", (), 60.0, "Share of recent claims that an independent check confirmed."),
    Channel("attest", (), 300.0, "How well the telemetry itself is attested; low means that readings may be wrong."),
    Channel("bound", (), 300.0, "How far inside its operating boundaries the deployment is."),
    Channel("intensity", (), 30.0, "Strength of the emotional state."),
    Channel("emotion", EMOTIONS, 30.0, "Emotional state of the interaction."),
    Channel("decision", PIPELINE_DECISIONS, 60.0, "What the surrounding pipeline has decided so far."),
    Channel("model", MODEL_AGREEMENT, 300.0, "Agreement of the model ensemble behind the telemetry."),
)
CHANNEL_BY_NAME: Final = {channel.name: channel for channel in CHANNELS}
COMPETENCE_CHANNELS: Final = ("trust", "verify", "attest", "bound")
"""The channels that speak for the deployment's competence right now."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A channel's value (a number in [0, 1] or a word) and its age in seconds."""

    value: float | str
    age_s: float = 0.0


def quantise(number: float) -> float:
    """Clamp a finite number to [0, 1] and round it to the 0.01 grid."""
    return round(min(1.0, max(0.0, number)) * NUMBER_STEPS) / NUMBER_STEPS


def stale_level(channel: Channel, reading: Reading) -> int:
    """Return 0 for a fresh reading; 1, 2, 3, 4 for one older than 1, 2, 4, 8 times the time-to-live."""
    return sum(reading.age_s > channel.ttl_s * 2**level for level in range(MAX_STALE_LEVEL))


@dataclass(frozen=True, slots=True, kw_only=True)
class GovernanceState:
    """What the telemetry says now; a channel that is None is missing.

    Values are checked and put on the grid on construction, ages are kept to the millisecond, so that a state
    equals what is parsed back from its own text. Raises TelemetryError for a value that is not allowed.
    """

    trust: Reading | None = None
    verify: Reading | None = None
    attest: Reading | None = None
    bound: Reading | None = None
    intensity: Reading | None = None
    emotion: Reading | None = None
    decision: Reading | None = None
    model: Reading | None = None

    def __post_init__(self) -> None:
        for channel in CHANNELS:
            reading = getattr(self, channel.name)
            if reading is not None:
                object.__setattr__(self, channel.name, _checked(channel, reading))

    def __iter__(self) -> Iterator[tuple[Channel, Reading | None]]:
        """Iterate over the channels in their fixed order, each with its reading or None."""
        for channel in CHANNELS:
            yield channel, getattr(self, channel.name)

    @classmethod
    def of(cls, **values: float | str) -> GovernanceState:
        """Build a state of fresh readings: `GovernanceState.of(trust=0.72, emotion="FOCUSED")`."""
        return cls.from_mapping(values)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], *, now: float | None = None) -> GovernanceState:
        """Build a state from plain data (JSON, YAML).

        A channel's value is a number, a word, null (missing), or a mapping with `value` and either `age_s`
        (seconds) or `at` (Unix seconds or ISO 8601; needs `now`, Unix seconds).
        Raises TelemetryError naming the key, the value and what is allowed.
        """
        if not isinstance(mapping, Mapping):
            raise TelemetryError(f"telemetry must be a mapping of channels, got {type(mapping).__name__}")
        readings: dict[str, Reading] = {}
        for name, raw in mapping.items():
            if name not in CHANNEL_BY_NAME:
                shown = reprlib.repr(name)
                raise TelemetryError(f"telemetry has no channel {shown}{nearest(str(name), CHANNEL_BY_NAME)}")
            if raw is not None:
                readings[name] = _reading_from_plain(name, raw, now)
        return cls(**readings)

    def to_mapping(self) -> dict[str, Any]:
        """Return plain data that `from_mapping` turns back into an equal state; missing channels are left out."""
        return {
            channel.name: {"value": reading.value, "age_s": reading.age_s} if reading.age_s else reading.value
            for channel, reading in self
            if reading is not None
        }

    def aged(self, seconds: float) -> GovernanceState:
        """Return the same readings, `seconds` older."""
        return GovernanceState(
            **{c.name: Reading(r.value, r.age_s + seconds) for c, r in self if r is not None},
        )

    def degraded_channels(self) -> tuple[str, ...]:
        """Names of the channels that are missing or stale, in their fixed order."""
        return tuple(c.name for c, r in self if r is None or stale_level(c, r) > 0)

    def is_degraded(self) -> bool:
        """True when at least half of COMPETENCE_CHANNELS are missing or stale: the telemetry vouches for little."""
        degraded = set(self.degraded_channels())
        return 2 * sum(name in degraded for name in COMPETENCE_CHANNELS) >= len(COMPETENCE_CHANNELS)


def _checked(channel: Channel, reading: Reading) -> Reading:
    if not isinstance(reading, Reading):
        raise TelemetryError(f"telemetry {channel.name} must be a Reading, got {reprlib.repr(reading)}")
    value, age = reading.value, reading.age_s
    if not _is_finite(age) or age < 0:
        raise TelemetryError(
            f"telemetry {channel.name}: age {reprlib.repr(age)} must be a finite number of seconds, 0 or more"
        )
    if channel.is_number:
        if not _is_finite(value):
            raise TelemetryError(
                f"telemetry {channel.name}={reprlib.repr(value)} is not allowed: give {channel.allowed}"
            )
        value = quantise(value)
    elif value not in channel.values:
        raise TelemetryError(f"telemetry {channel.name}={reprlib.repr(value)} is not allowed: one of {channel.allowed}")
    return Reading(value, round(float(min(MAX_AGE_S, age)), 3))


def _is_finite(number: object) -> TypeGuard[float]:
    """True for an int or a finite float; `math.isfinite` would overflow on an int beyond the floats."""
    return isinstance(number, int | float) and not isinstance(number, bool) and -math.inf < number < math.inf


def _reading_from_plain(name: str, raw: Any, now: float | None) -> Reading:
    if not isinstance(raw, Mapping):
        return Reading(raw)
    unknown = set(raw) - {"value", "age_s", "at"}
    if unknown or "value" not in raw or {"age_s", "at"} <= set(raw):
        raise TelemetryError(
            f"telemetry {name}={reprlib.repr(dict(raw))} is not allowed: "
            "give `value` and at most one of `age_s` (seconds) and `at`"
        )
    if "at" not in raw:
        return Reading(raw["value"], raw.get("age_s", 0.0))
    if now is None:
        raise TelemetryError(f"telemetry {name}: `at` is not allowed here, give `age_s` (seconds)")
    age = now - _unix_seconds(name, raw["at"])
    if age < -MAX_CLOCK_SKEW_S:
        at = reprlib.repr(raw["at"])
        raise TelemetryError(f"telemetry {name}: `at` {at} lies {-age:.0f} s in the future; check the clocks")
    return Reading(raw["value"], max(0.0, age))


def _unix_seconds(name: str, at: Any) -> float:
    if _is_finite(at):
        return float(min(max(at, -_MAX_UNIX_S), _MAX_UNIX_S))
    try:
        moment = at if isinstance(at, datetime) else datetime.fromisoformat(at)
    except (TypeError, ValueError):
        raise TelemetryError(f"telemetry {name}: `at` {reprlib.repr(at)} must be Unix seconds or ISO 8601") from None
    if moment.tzinfo is None:
        raise TelemetryError(f"telemetry {name}: `at` {reprlib.repr(at)} has no time zone; add Z or an offset")
    return moment.timestamp()


assert tuple(field.name for field in fields(GovernanceState)) == tuple(CHANNEL_BY_NAME), "one field per channel"
