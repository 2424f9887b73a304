"""One request before it is put into words, and how its phrases read for the user and for the assistant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from promethios.data.causes import TextCauses
from promethios.data.families import Family, Person

_PLURAL_VERBS: Final = {
    "has": "have", "needs": "need", "is": "are", "was": "were", "gets": "get", "pays": "pay", "returns": "return",
}  # fmt: skip
_SUBJECT: Final = re.compile(rf"(?<!of )<person> (can|should|may|must|will|got|still|{'|'.join(_PLURAL_VERBS)})\b")
_POSSESSIVE: Final = re.compile(r"\b(my|our)\b")
_INDEFINITE: Final = re.compile(r"^an? ")


@dataclass(frozen=True, slots=True)
class Scene:
    """A request. item, person: chosen from the family. bias_category: 0 to 5, said when causes.bias."""

    family: Family
    item: str
    person: Person
    causes: TextCauses
    bias_category: int

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
