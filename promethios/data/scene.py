"""One request before it is put into words, and how its phrases read for the user and for the assistant."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Final

from promethios.data.causes import TextCauses
from promethios.data.families import Family, Person

COMPOSITIONAL_SHARE: Final = 0.35
"""Share of mentions, of causes that are there and of causes that are not, which a bag of words cannot tell apart."""

_PLURAL_VERBS: Final = {
    "has": "have", "needs": "need", "is": "are", "was": "were", "gets": "get", "pays": "pay", "returns": "return",
}  # fmt: skip
_SUBJECT: Final = re.compile(rf"(?<!of )<person> (can|should|may|must|will|got|still|{'|'.join(_PLURAL_VERBS)})\b")
_POSSESSIVE: Final = re.compile(r"\b(my|our)\b")
_INDEFINITE: Final = re.compile(r"^an? ")


@dataclass(frozen=True, slots=True)
class Scene:
    """A request. item, person: chosen from the family. bias_category: 0 to 5, said when causes.bias.

    held_out_wording: take only phrases that no other split uses.
    """

    family: Family
    item: str
    person: Person
    causes: TextCauses
    bias_category: int
    held_out_wording: bool = False

    def introduced(self, phrase: str) -> str:
        """Return a phrase as the user says it at first: "my father got a blood test"."""
        return self._filled(phrase, self.item)

    def continued(self, phrase: str) -> str:
        """Return a phrase as the user says it once both are known: "what he should do about the blood test"."""
        return self._filled(_SUBJECT.sub(self._pronoun, phrase), self._definite_item)

    def answered(self, phrase: str) -> str:
        """Return a phrase as the one who answers says it: "your father", "the blood test"."""
        return _POSSESSIVE.sub("your", self._filled(phrase, self._definite_item)).replace("of ours", "of yours")

    @property
    def details(self) -> tuple[str, ...]:
        """The pieces of information that one might need here; the first is the one that can be missing."""
        start = self.family.items.index(self.item) % len(self.family.details)
        return (*self.family.details[start:], *self.family.details[:start])

    def is_compositional(self, cause: int) -> bool:
        """Return whether an active cause (index into UNCERTAINTY) is said compositionally.

        A property of the scene rather than a draw, so that request, self-questions and response speak of the same.
        """
        key = f"{self.family.id}/{self.item}/{self.person.name}/{self.bias_category}/{cause}"
        return zlib.crc32(key.encode()) < COMPOSITIONAL_SHARE * 2**32

    @property
    def _definite_item(self) -> str:
        return _INDEFINITE.sub("the ", self.item)

    def _filled(self, phrase: str, item: str) -> str:
        return phrase.replace("<item>", item).replace("<person>", self.person.name)

    def _pronoun(self, match: re.Match[str]) -> str:
        verb, pronoun = match.group(1), self.person.pronoun
        return f"{pronoun} {_PLURAL_VERBS.get(verb, verb) if pronoun == 'they' else verb}"


def sentence(text: str) -> str:
    """Return text with a capital first letter."""
    return text[:1].upper() + text[1:]
