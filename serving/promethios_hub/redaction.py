"""Personal data in texts, replaced where a review arrives when PROMETHIOS_HUB_REDACT is on.

Patterns of what has a form of its own: e-mail addresses, payment cards (with their check digit), IBANs, telephone
numbers, IP addresses. Names and addresses have none; a text that must not hold any needs a reader made for that.
"""

from __future__ import annotations

import re
from typing import Final

_EMAIL: Final = re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{2,63})+\b")
_IBAN: Final = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_CARD: Final = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")
_IP: Final = re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b")
_PHONE: Final = re.compile(
    r"(?<![\w.])(?:(?:\+\d{1,3}|\(?0\d{1,4}\)?)(?:[ -]?\(?\d{1,8}\)?){1,5}|\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4})(?![\w-])"
)
_PHONE_DIGITS: Final = 7


def redacted(text: str) -> str:
    """Return the text with `[e-mail]`, `[card]`, `[IBAN]`, `[IP address]` and `[phone]` in place of what looks so."""
    text = _EMAIL.sub("[e-mail]", text)
    text = _IBAN.sub("[IBAN]", text)
    text = _CARD.sub(lambda found: "[card]" if _passes_luhn(found.group()) else found.group(), text)
    text = _IP.sub("[IP address]", text)
    return _PHONE.sub(lambda found: "[phone]" if _digits(found.group()) >= _PHONE_DIGITS else found.group(), text)


def _digits(text: str) -> int:
    return sum(character.isdecimal() for character in text)


def _passes_luhn(number: str) -> bool:
    digits = [int(digit) for digit in number if digit.isdecimal()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0
