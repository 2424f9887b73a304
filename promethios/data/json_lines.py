"""What the files that users bring have in common, test sets and feedback records: one JSON object a line.

What cannot be used later is refused here, with file and line: a key that stands twice, half a surrogate pair, a role
that the chat template does not render, a domain that the ontology does not know.
"""

from __future__ import annotations

import json
import reprlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NoReturn

from promethios.errors import DatasetError, TelemetryError, nearest
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.state import GovernanceState

ROLES: Final = ("system", "developer", "user", "assistant", "tool")
"""What the chat template renders; a developer's message as the system's."""

_GOVERNANCE_KEYS: Final = ("state", "domain")
_MAX_SHOWN: Final = 80
_BOM: Final = "\ufeff"
_REPR: Final = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = _MAX_SHOWN


class _RepeatedKeyError(Exception):
    """An object holds the same key twice; the argument is the key."""


def shown(value: object) -> str:
    """Return a value as a message shows it: short, however large or deeply nested it is."""
    return _REPR.repr(value)[:_MAX_SHOWN]


def numbered_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and the text of each line that is not blank, without a byte order mark."""
    for number, line in enumerate(lines, 1):
        text = line.removeprefix(_BOM) if number == 1 else line
        if text and not text.isspace():
            yield number, text


def parse_object(line: str, place: str) -> dict[str, Any]:
    """Return the JSON object of one line. Raises DatasetError, the message beginning with `place`."""
    try:
        fields = _DECODER.decode(line)
        # Files are UTF-8, so half a surrogate pair can only come from an escape.
        if "\\ud" in line or "\\uD" in line:
            json.dumps(fields, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"{place}: not JSON ({error.msg} at column {error.colno}): {line.strip()[:40]!r}; give one object a line"
        ) from None
    except _RepeatedKeyError as error:
        raise DatasetError(
            f"{place}: key {shown(error.args[0])} stands twice in one object; keep one of them"
        ) from None
    except RecursionError:
        raise DatasetError(f"{place}: lists or objects are nested too deeply; keep to the keys of the format") from None
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise DatasetError(
            f"{place}: a text holds {half!r}, half of a surrogate pair, which is no character; write both halves, or "
            "leave it out"
        ) from None
    except ValueError:  # the one that is left: Python refuses to read so many digits
        raise DatasetError(
            f"{place}: a number has more than {sys.get_int_max_str_digits()} digits; give one that its key allows"
        ) from None
    if not isinstance(fields, dict):
        raise DatasetError(
            f"{place}: must be a JSON object, found {type(fields).__name__}; give one JSON object a line"
        )
    return fields


def chat_messages(messages: Any, place: str) -> tuple[Mapping[str, str], ...]:
    """Return chat messages whose content is text, also where it was given in parts. Raises DatasetError."""
    allowed = "chat messages, each with a role and a content, among them a user's"
    if not isinstance(messages, list):
        _refuse(place, "messages", messages, allowed)
    read = tuple(
        [message if _is_plain(message) else _plain(message, index, place) for index, message in enumerate(messages)]
    )
    if "user" not in [message["role"] for message in read]:
        _refuse(place, "messages", messages, allowed)
    return read


def governance(value: Any, place: str) -> tuple[GovernanceState | None, str | None]:
    """Return the state and the domain that the model is told, None for what is null or not there.

    Raises DatasetError, also for a domain that the ontology does not know.
    """
    if not isinstance(value, dict):
        raise DatasetError(
            f"{place}: governance must be a JSON object, found {type(value).__name__}; give "
            '{"state": null, "domain": null} for a request without telemetry'
        )
    for key in value:
        if key not in _GOVERNANCE_KEYS:
            raise DatasetError(f"{place}: governance: unknown key {shown(key)}{nearest(key, _GOVERNANCE_KEYS)}")
    domain = known_domain("governance.domain", value.get("domain"), place)
    state = value.get("state")
    if state is None:
        return None, domain
    if isinstance(state, dict):
        # A reading whose value is null is missing, whatever else it says.
        state = {
            name: None if isinstance(reading, dict) and reading.get("value", 0) is None else reading
            for name, reading in state.items()
        }
    try:
        return GovernanceState.from_mapping(state), domain
    except TelemetryError as error:
        raise DatasetError(f"{place}: governance.state: {error}") from None


def known_domain(key: str, domain: Any, place: str) -> str | None:
    """Return the domain, or None. Raises DatasetError for one that the ontology does not know."""
    if domain is None:
        return None
    if not isinstance(domain, str):
        _refuse(place, key, domain, "the name of a domain, or null")
    domains = load_ontology().domains
    if domain not in domains:
        raise DatasetError(f"{place}: there is no domain {shown(domain)}{nearest(domain, domains)}")
    return domain


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKeyError(next(key for key in keys if keys.count(key) > 1))
    return fields


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object)


def _is_plain(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") in ROLES and isinstance(message.get("content"), str)


def _plain(message: Any, index: int, place: str) -> Mapping[str, str]:
    """Return a message that is not plain with its parts joined. Raises DatasetError naming what is wrong with it."""
    name = f"messages[{index}]"
    if not isinstance(message, dict):
        _refuse(place, name, message, 'an object with "role" and "content"')
    if message.get("role") not in ROLES:
        _refuse(place, f"{name}.role", message.get("role"), f"one of {', '.join(ROLES)}")
    content = message.get("content")
    if content is None and message.get("tool_calls"):
        _refuse(place, f"{name}.content", None, "the tool calls in words, for example 'Looking up the leaflet.'")
    if not isinstance(content, list) or not content or not all(map(_is_text_part, content)):
        _refuse(place, f"{name}.content", content, 'text, or a list of parts {"type": "text", "text": ...}')
    # As vLLM joins them for a template that takes text.
    return {**message, "content": "\n".join(part["text"] for part in content)}


def _is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _refuse(place: str, key: str, value: object, allowed: str) -> NoReturn:
    raise DatasetError(f"{place}: {key}={shown(value)} is not allowed; give {allowed}")
