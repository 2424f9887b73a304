"""Result files: written whole or not at all, and read back strictly."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from promethios.errors import ModelFolderError

Rule = tuple[Callable[[Any], bool], str]
"""What a value must fulfil, and the same in words."""

REMEDY: Final = "run `promethios evaluate` again"


def write_atomically(path: Path, text: str) -> None:
    """Write UTF-8 text under a temporary name in the same folder, then move it into place. Raises OSError."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_part(
    path: Path, constants: Mapping[str, Any], rules: Mapping[str, Rule], defaults: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Read a part of a model folder that `promethios evaluate` writes: a JSON object with exactly these keys.

    constants: key -> the only value allowed; taken out of the result. rules: key -> rule, for every other key.
    defaults: key -> its value in files that do not have it yet.
    Raises ModelFolderError naming the file, the key, what stands there and what is allowed.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelFolderError(
            f"{path} is missing; run `promethios evaluate --model_path {path.parent}`, which writes it"
        ) from None
    except json.JSONDecodeError as error:
        raise ModelFolderError(f"{path}:{error.lineno}: not JSON ({error.msg}); {REMEDY}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFolderError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ModelFolderError(f"{path}: must hold a JSON object; {REMEDY}")
    for key, expected in constants.items():
        if content.pop(key, None) != expected:
            raise ModelFolderError(f"{path}: {key} must be {expected!r}; {REMEDY}")
    content = {**(defaults or {}), **content}
    check_fields(str(path), content, rules)
    return content


def check_fields(place: str, content: Any, rules: Mapping[str, Rule]) -> None:
    """Raise ModelFolderError unless `content` is an object with exactly the keys of `rules`, each as it says."""
    if not isinstance(content, dict):
        raise ModelFolderError(f"{place}: must be an object; {REMEDY}")
    if content.keys() != rules.keys():
        wrong = ", ".join(sorted(content.keys() ^ rules.keys()))
        raise ModelFolderError(f"{place}: missing or unknown key(s): {wrong}; {REMEDY}")
    for key, (is_right, allowed) in rules.items():
        if not is_right(content[key]):
            raise ModelFolderError(f"{place}: {key} is {content[key]!r}; it must be {allowed}; {REMEDY}")


def is_number(value: Any) -> bool:
    """True for a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_count(value: Any) -> bool:
    """True for a whole number, 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_share(value: Any) -> bool:
    """True for a number from 0 to 1."""
    return is_number(value) and 0.0 <= value <= 1.0


def is_probability(value: Any) -> bool:
    """True for a number above 0 and below 1."""
    return is_number(value) and 0.0 < value < 1.0


def is_sha256(value: Any) -> bool:
    """True for a SHA-256 as 64 hexadecimal digits."""
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


SHA256: Final[Rule] = (is_sha256, "64 hexadecimal digits")
