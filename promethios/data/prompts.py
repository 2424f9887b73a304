"""The user's side: a scene as somebody would write it, in one of several registers, in 20 to 50 words as a rule.

Every cause can be said to be there or not to be there, directly ("I could not find the strength on the label" against
"I have attached the strength on the label") or compositionally, in the same words ("my copy is from 2014, the last
change came in 2019" against "... from 2019, ... in 2014"), so that single words do not give it away. The phrases are
banks in `wording/`, shared by all families: what was learned on one family carries over to an unseen one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from promethios.data.draws import Picks
from promethios.data.example import Evidence
from promethios.data.phrase_banks import Bank
from promethios.data.registers import Register, continued, draw_manner, joined, load_registers, sentences
from promethios.data.remarks import CONTEXT, MUST, ORNAMENT, Remark, Speaker, unmarked
from promethios.data.scene import Scene

MIN_WORDS: Final = 8
MAX_WORDS: Final = 48
BRIEF_DRAFTS: Final = 3
"""A request that grows too long is drafted anew: only what must be said, in short phrases."""
BRIEF_ASKS: Final = 2
CONTEXT_CHANCE: Final = 0.3
"""How often a sentence introduces item and person before they are asked about."""
_AFTER_SO: Final = ("I would", "I need", "Can you", "Could you", "Please", "Do you", "May I", "Would you", "Kindly")
"""How a question begins that can follow from a remark: "I am frightened, so can you ..."."""
QUESTION_PLACES: Final = ("first", "first", "last", "last", "middle")


@dataclass(frozen=True, slots=True)
class Written:
    """messages: all before the assistant's response. template: register, question frame and structure, as an id.

    evidence: what each remark shows, in the order in which they are said.
    """

    messages: tuple[Mapping[str, str], ...]
    template: str
    evidence: tuple[Evidence, ...] = ()

    @classmethod
    def of(cls, messages: Sequence[Mapping[str, str]], template: str) -> Written:
        """Return what was written, from messages with marks of what they show."""
        clean: list[Mapping[str, str]] = []
        evidence: list[Evidence] = []
        for number, message in enumerate(messages):
            text, found = unmarked(message["content"], number)
            clean.append({**message, "content": text})
            evidence += found
        return cls(tuple(clean), template, tuple(evidence))


def write_request(scene: Scene, picks: Picks) -> Written:
    """Return the conversation up to the assistant's response."""
    return _write(scene, picks)[0]


def write_cue_pair(scene: Scene, cause: int, picks: Picks) -> tuple[Written, Written]:
    """Return two conversations: the scene's, and the same but for one cause, which is said not to be there.

    cause: an active one, index into UNCERTAINTY.
    """
    return _write(scene, picks, cause)


def write_group_pair(scene: Scene, picks: Picks) -> tuple[Written, Written]:
    """Return two conversations that differ only in the group of one category; the scene brings a group into play."""
    return _write(scene, picks)


def _write(scene: Scene, picks: Picks, twin_cause: int | None = None) -> tuple[Written, Written]:
    draft = _Draft(scene, picks, twin_cause, brief=False)
    for _ in range(BRIEF_DRAFTS):
        if draft.num_words <= MAX_WORDS:
            break
        draft = min(draft, _Draft(scene, picks, twin_cause, brief=True), key=lambda each: each.num_words)
    looked_up = draft.speaker.look_up()
    first, second = (
        Written.of([{"role": "user", "content": text}, *looked_up], draft.template) for text in draft.texts
    )
    return first, second


class _Draft:
    """A user's message. texts: as both members of a pair write it. speaker: who says what comes after it."""

    def __init__(self, scene: Scene, picks: Picks, twin_cause: int | None, *, brief: bool) -> None:
        self._scene = scene
        self._picks = picks
        self._brief = brief
        self._register: Register = picks.of(load_registers())
        self.speaker = Speaker(scene, picks, twin_cause, brief=brief)
        self.texts, self.template = self._written()

    @property
    def num_words(self) -> int:
        """The words of the longer member."""
        return max(map(_words, self.texts))

    def _written(self) -> tuple[tuple[str, str], str]:
        scene, picks, register = self._scene, self._picks, self._register
        greeting = self._ornament(register.greetings, register.style.greets)
        context = self._context()
        remarks = self.speaker.remarks()
        thanks = self._ornament(register.thanks, register.style.thanks)
        asks = register.asks.patterns(held_out=scene.held_out_wording, brief=self._brief)
        frame = picks.of(range(len(asks)))
        family_asks = sorted(scene.family.asks, key=_words)[:BRIEF_ASKS] if self._brief else scene.family.asks
        question, ask = picks.of(asks[frame]), picks.of(family_asks)
        parts = _fitted([greeting, context, remarks, thanks], MAX_WORDS - _words(question) - _words(ask))
        greeting, context, remarks, thanks = parts
        question = question.replace("{ask}", scene.continued(ask) if context else scene.introduced(ask))
        place = picks.of(QUESTION_PLACES)
        if self.speaker.names_somebody and not context:
            place = "first"
        said = [*context, *self._body(question, remarks, place), *thanks]
        manner = draw_manner(register.style, picks)
        first, second = (
            manner.applied(_assembled(greeting, [remark.texts[member] for remark in said])) for member in range(2)
        )
        return (first, second), f"{register.name}/{frame}/{'context-' if context else ''}{place}"

    def _body(self, question: str, remarks: list[Remark], place: str) -> list[Remark]:
        """Return the question at its place among the remarks, some of them joined to one sentence."""
        style = self._register.style
        index = {"first": 0, "last": len(remarks), "middle": (len(remarks) + 1) // 2}[place]
        before, after = remarks[:index], remarks[index:]
        follows = bool(before) and before[-1].is_loose and before[-1].is_trouble and question.startswith(_AFTER_SO)
        if follows and self._adds(style.joins):
            question = joined(before.pop().texts[0], "so", question)
        before, after = self._joined(before), self._joined(after)
        if after and self._adds(style.fillers):
            filler = self._register.fillers.choose(self._picks, held_out=self._scene.held_out_wording)
            first, second = (continued(filler, text) for text in after[-1].texts)
            after[-1] = Remark((first, second), after[-1].rank)
        return [*before, Remark((question, question), MUST), *after]

    def _joined(self, remarks: list[Remark]) -> list[Remark]:
        """Return the remarks, the first two neighbours that can be one sentence perhaps made into one."""
        for index, (first, second) in enumerate(pairwise(remarks)):
            if first.is_loose and second.is_loose:
                if not self._adds(self._register.style.joins):
                    break
                link = "and" if first.is_trouble == second.is_trouble else "but"
                text = joined(first.texts[0], link, second.texts[0])
                return [*remarks[:index], Remark((text, text), MUST), *remarks[index + 2 :]]
        return remarks

    def _context(self) -> list[Remark]:
        if not self._adds(CONTEXT_CHANCE):
            return []
        text = sentences(self._scene.introduced(self._picks.of(self._scene.family.context))) + "."
        return [Remark((text, text), CONTEXT)]

    def _ornament(self, bank: Bank[str], chance: float) -> list[Remark]:
        if not self._adds(chance):
            return []
        text = bank.choose(self._picks, held_out=self._scene.held_out_wording)
        return [Remark((text, text), ORNAMENT)]

    def _adds(self, chance: float) -> bool:
        return not self._brief and self._picks.chance(chance)


def _fitted(parts: list[list[Remark]], room: int) -> list[list[Remark]]:
    """Return the parts without the remarks that must go, by rank and from the end, to have at most `room` words."""
    over = sum(_length(remark) for part in parts for remark in part) - room
    left_out = set()
    for remark in sorted((remark for part in parts for remark in part), key=lambda remark: -remark.rank):
        if over <= 0 or remark.rank == MUST:
            break
        left_out.add(remark)
        over -= _length(remark)
    return [[remark for remark in part if remark not in left_out] for part in parts]


def _assembled(greeting: list[Remark], texts: list[str]) -> str:
    text = " ".join(texts)
    if not greeting:
        return text
    opening = greeting[0].texts[0]
    return continued(opening, text) if opening.endswith(",") else f"{opening} {text}"


def _length(remark: Remark) -> int:
    return max(map(_words, remark.texts))


def _words(text: str) -> int:
    return text.count(" ") + 1
