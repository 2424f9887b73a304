"""The text form of telemetry: `<gov:trust=0.72><gov:emotion=FOCUSED;age=12.5>`. The only code that knows it.

Grammar (ASCII; white space may stand between tags, nowhere inside):

    tags   = *( tag )                       each channel at most once, in any order
    tag    = "<gov:" body ">"
    body   = name "=" value [ ";age=" age ]
    value  = number / word                  number = ["-"] 1*9DIGIT ["." 1*9DIGIT], clamped to [0, 1]
    age    = 1*9DIGIT ["." 1*3DIGIT]        seconds since the reading was taken; absent means 0

Text is accepted whole or refused whole. A number is put on the 0.01 grid.
"""

from __future__ import annotations

import re
from typing import Final

from promethios.errors import TelemetryError, nearest
from promethios.telemetry.state import CHANNEL_BY_NAME, GovernanceState, Reading

MAX_TEXT: Final = 2048
"""Longest accepted text, in characters."""

TAG_TEXT: Final = re.compile(r"</?gov:[^<>\n]{0,200}>", re.IGNORECASE)
"""Anything that looks like a tag, well formed or not; what the redactor removes from answers."""

_TAG = re.compile(r"<gov:([^<>]*)>")
_BODY = re.compile(r"([A-Za-z_]+)=([^=;]+)(?:;age=([0-9]{1,9}(?:\.[0-9]{1,3})?))?")
_NUMBER = re.compile(r"-?[0-9]{1,9}(?:\.[0-9]{1,9})?")
_SPACE = re.compile(r"[ \t\r\n]*")


def parse(text: str | bytes) -> GovernanceState:
    """Parse tags into a state; empty text is a state with no reading.

    Raises TelemetryError naming the position, what stands there and what is allowed. Never accepts a part.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("ascii")
        except UnicodeDecodeError as error:
            raise TelemetryError(f"governance tags must be ASCII; byte {error.start} is not") from None
    if len(text) > MAX_TEXT:
        raise TelemetryError(f"governance tags of {len(text)} characters; at most {MAX_TEXT} are allowed")
    readings: dict[str, Reading] = {}
    position = _space_end(text, 0)
    while position < len(text):
        tag = _TAG.match(text, position)
        if tag is None:
            raise TelemetryError(
                f"governance tags: expected <gov:name=value> at character {position}, found {text[position:][:24]!r}"
            )
        _add_reading(readings, tag.group(1))
        position = _space_end(text, tag.end())
    return GovernanceState(**readings)


def parse_assignments(text: str) -> GovernanceState:
    """Parse the short form of the command line: `trust=0.3,emotion=ANXIOUS;age=40`. Raises TelemetryError."""
    readings: dict[str, Reading] = {}
    for body in filter(None, (part.strip() for part in text.split(","))):
        _add_reading(readings, body)
    return GovernanceState(**readings)


def render(state: GovernanceState) -> str:
    """Render a state as tags in the fixed channel order; `parse(render(state)) == state`."""
    return "".join(
        f"<gov:{channel.name}={_value_text(reading.value)}{_age_text(reading.age_s)}>"
        for channel, reading in state
        if reading is not None
    )


def _add_reading(readings: dict[str, Reading], body: str) -> None:
    match = _BODY.fullmatch(body)
    if match is None:
        raise TelemetryError(f"governance tag {body[:60]!r} must read name=value or name=value;age=seconds")
    name, value, age = match.groups()
    if name not in CHANNEL_BY_NAME:
        raise TelemetryError(f"telemetry has no channel {name!r}{nearest(name, CHANNEL_BY_NAME)}")
    if name in readings:
        raise TelemetryError(f"telemetry channel {name!r} is given twice; give it once")
    channel = CHANNEL_BY_NAME[name]
    if channel.is_number and not _NUMBER.fullmatch(value):
        raise TelemetryError(f"telemetry {name}={value!r} is not allowed: give {channel.allowed}")
    # The state checks words itself; checking here keeps the error at the tag that caused it.
    state = GovernanceState(**{name: Reading(float(value) if channel.is_number else value, float(age or 0.0))})
    readings[name] = getattr(state, name)


def _space_end(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _value_text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.2f}"


def _age_text(age_s: float) -> str:
    return f";age={f'{age_s:.3f}'.rstrip('0').rstrip('.')}" if age_s else ""
