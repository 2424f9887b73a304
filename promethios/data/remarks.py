"""Remarks: what a request says beside its question, one for each cause that is there and for some that are not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from promethios.data.causes import CAUSE_WEIGHTS, EVIDENCE, UNCERTAINTY
from promethios.data.draws import Picks
from promethios.data.example import Evidence
from promethios.data.phrase_banks import Bank, Contrast
from promethios.data.registers import sentences
from promethios.data.scene import COMPOSITIONAL_SHARE, Scene
from promethios.data.user_phrases import LEVELS, Mention, load_user_phrases

RESOLVED_COUNTS: Final = ((1, 1, 2), (0, 0, 1), (0,))
"""How many uncertainty causes are said *not* to be there, by how many are: in all about as many as are there."""
RESOLVED_COMPOSITIONAL_SHARE: Final = 0.55
"""More than COMPOSITIONAL_SHARE, as long requests lose some; so a compositional frame tells little by itself."""
CALM_CHANCE: Final = 0.33
EQUAL_CHANCE: Final = 0.1
"""How often a request names a group and says that it makes no difference."""
NO_LOOK_UP_CHANCE: Final = 0.12
LOOK_UP_ASKED_CHANCE: Final = 0.4
"""How often the user asked for the look-up whose result is there."""
LOW_STAKES_CHANCE: Final = 0.5
"""How often low stakes are said rather than left out."""
DOMAIN_STAKES_CHANCE: Final = 0.4
"""How often stakes are said in the words of the domain."""
FIRST_YEAR: Final = 2008
LAST_YEAR: Final = 2027
LEAST_GAP: Final = 2
"""Years between the two years of a remark that compares them."""

MUST, RESOLVED, CONTEXT, MINOR, ORNAMENT = range(5)
"""Ranks: a request that grows too long loses ORNAMENT first and MUST never."""

_EXCLUSIVE: Final = ("{early}", "{datum}")
"""Slots that at most one remark of a conversation uses, or two remarks could contradict each other by accident."""
_STAKES: Final = ("nothing", "medium_stakes", "high_stakes")
"""What a remark on the stakes shows, by difficulty."""

_FIRST_MARK: Final = 0xE000
"""Of the private use area: letters that no phrase has."""
_MARK: Final = re.compile(f"[{chr(_FIRST_MARK)}-{chr(_FIRST_MARK + len(EVIDENCE) - 1)}]")

_ABSENT: Final = tuple(cause for cause, weight in enumerate(CAUSE_WEIGHTS) for _ in range(weight))
T = TypeVar("T", str, Contrast)


def marked(text: str, shows: str) -> str:
    """Return a remark with a mark of what it shows before its last stop, which no operator on wording touches."""
    stop = text[-1] if text[-1] in ".?!" else ""
    return f"{text.removesuffix(stop)}{chr(_FIRST_MARK + EVIDENCE.index(shows))}{stop}"


def unmarked(text: str, message: int) -> tuple[str, list[Evidence]]:
    """Return a text without its marks, and what they mark."""
    found = [
        Evidence(message, match.start() - number, EVIDENCE[ord(match.group()) - _FIRST_MARK])
        for number, match in enumerate(_MARK.finditer(text))
    ]
    return _MARK.sub("", text), found


@dataclass(frozen=True, slots=True)
class Remark:
    """A remark as the two members of a pair say it, in the same words unless it is what they differ in.

    texts: with the marks of what they show. rank: MUST to ORNAMENT. is_trouble: bad news. is_loose: can become a part
    of a longer sentence.
    """

    texts: tuple[str, str]
    rank: int
    is_trouble: bool = False
    is_loose: bool = False


class Speaker:
    """Says what one scene holds. twin_cause: the cause that the second member of a pair says not to be there."""

    def __init__(self, scene: Scene, picks: Picks, twin_cause: int | None, *, brief: bool) -> None:
        self._scene = scene
        self._picks = picks
        self._twin_cause = twin_cause
        self._brief = brief
        self._phrases = load_user_phrases()
        self._slots, self._twin_slots = self._draw_slots()
        self._used: set[str] = set()
        self.names_somebody = False
        """True when a remark speaks of the item or the person, who then must be introduced before."""

    def remarks(self) -> list[Remark]:
        """Return the request's remarks in the order in which they are made."""
        causes, phrases = self._scene.causes, self._phrases
        said = [self._cause(cause) for cause in causes.uncertainty]
        said += self._stakes()
        if causes.affect:
            said.append(self._mentioned(phrases.affect, "affect"))
        if causes.bias:
            said.append(self._mentioned(phrases.bias, "bias"))
        if causes.tool == "needed" or (causes.tool != "none" and self._picks.chance(LOOK_UP_ASKED_CHANCE)):
            # Once it is made, its result is what shows something.
            said.append(self._mentioned(phrases.look_up, "look_up" if causes.tool == "needed" else "nothing"))
        return self._picks.shuffled(said if self._brief else [*said, *self._asides()])

    def look_up(self) -> tuple[Mapping[str, str], ...]:
        """Return the assistant's look-up and the tool's result, when the scene has them; to be said last."""
        state = self._scene.causes.tool
        if state not in ("fine", "unreliable"):
            return ()
        call = self._filled(self._choose(self._phrases.calls), self._slots)
        is_unreliable = state == "unreliable"
        shows = "unreliable_result" if is_unreliable else "nothing"
        result = self._mentioned(self._phrases.results, shows, active=is_unreliable).texts[0]
        return {"role": "assistant", "content": call}, {"role": "tool", "content": result}

    def _cause(self, cause: int) -> Remark:
        mention = self._phrases.causes[cause]
        # A brief request says its second cause directly; the first two causes keep their form, as responses name it.
        direct = self._brief and cause > 1 and cause != self._scene.causes.uncertainty[0]
        contrast = self._contrast(mention) if self._scene.is_compositional(cause) and not direct else None
        if contrast is not None:
            active, resolved = contrast.active, contrast.resolved
        else:
            active = self._choose(mention.active)
            resolved = self._choose(mention.resolved) if cause == self._twin_cause else ""
        first = self._filled(active, self._slots)
        shown = marked(first, UNCERTAINTY[cause])
        if cause == self._twin_cause:
            return Remark((shown, marked(self._filled(resolved, self._slots), "nothing")), MUST)
        return Remark((shown, shown), MUST, is_trouble=True, is_loose=contrast is None and _is_loose(first))

    def _stakes(self) -> list[Remark]:
        level, picks = self._scene.causes.difficulty, self._picks
        if level == 0 and not picks.chance(LOW_STAKES_CHANCE):
            return []
        rank, is_trouble = MUST if level else MINOR, level == len(LEVELS) - 1
        if picks.chance(COMPOSITIONAL_SHARE) and not self._brief:
            text = marked(self._filled(self._choose(self._phrases.stakes_compared), self._slots), _STAKES[level])
            return [Remark((text, text), rank, is_trouble)]
        own = ((), self._scene.family.medium_stakes, self._scene.family.high_stakes)[level]
        if own and not self._scene.held_out_wording and picks.chance(DOMAIN_STAKES_CHANCE):
            text = self._filled(f"{picks.of(own)}.", self._slots)
        else:
            text = self._filled(self._choose(self._phrases.stakes[level]), self._slots)
        shown = marked(text, _STAKES[level])
        return [Remark((shown, shown), rank, is_trouble, is_loose=_is_loose(text))]

    def _asides(self) -> list[Remark]:
        """Return remarks that say what is *not* there."""
        causes, phrases, picks = self._scene.causes, self._phrases, self._picks
        absent = [cause for cause in _ABSENT if cause not in causes.uncertainty]
        denied = dict.fromkeys(picks.of(absent) for _ in range(picks.of(RESOLVED_COUNTS[len(causes.uncertainty)])))
        asides = [self._denied(phrases.causes[cause]) for cause in denied]
        for mention, chance in (
            (phrases.affect, CALM_CHANCE * (not causes.affect)),
            (phrases.bias, EQUAL_CHANCE * (not causes.bias)),
            (phrases.look_up, NO_LOOK_UP_CHANCE * (causes.tool == "none")),
        ):
            if picks.chance(chance):
                asides.append(self._denied(mention))
        return asides

    def _denied(self, mention: Mention) -> Remark:
        return self._mentioned(mention, "nothing", active=False, rank=RESOLVED)

    def _mentioned(self, mention: Mention, shows: str, *, active: bool = True, rank: int = MUST) -> Remark:
        share = RESOLVED_COMPOSITIONAL_SHARE if rank == RESOLVED else COMPOSITIONAL_SHARE
        contrast = self._contrast(mention) if self._picks.chance(share) and not self._brief else None
        if contrast is not None:
            phrase = contrast.active if active else contrast.resolved
        else:
            phrase = self._choose(mention.active if active else mention.resolved)
        first, second = self._filled(phrase, self._slots), self._filled(phrase, self._twin_slots)
        is_loose = contrast is None and first == second and _is_loose(first)
        return Remark((marked(first, shows), marked(second, shows)), rank, active, is_loose)

    def _choose(self, bank: Bank[str]) -> str:
        chosen = self._free(bank.patterns(held_out=self._scene.held_out_wording, brief=self._brief), str)
        if chosen is None:
            raise LookupError("every pattern of a bank needs a slot that is already used")
        return chosen

    def _contrast(self, mention: Mention) -> Contrast | None:
        patterns = mention.compositional.patterns(held_out=self._scene.held_out_wording, brief=self._brief)
        return self._free(patterns, lambda contrast: contrast.active)

    def _free(self, patterns: Sequence[tuple[T, ...]], text_of: Callable[[T], str]) -> T | None:
        """Return a variant of one of the patterns that need no exclusive slot in use; None when there is none."""
        if self._used:
            patterns = [
                variants for variants in patterns if not any(slot in text_of(variants[0]) for slot in self._used)
            ]
        if not patterns:
            return None
        chosen = self._picks.of(self._picks.of(patterns))
        self._used.update(slot for slot in _EXCLUSIVE if slot in text_of(chosen))
        return chosen

    def _filled(self, phrase: str, slots: Mapping[str, str]) -> str:
        text = phrase.format_map(slots)
        self.names_somebody = self.names_somebody or "<" in text
        return sentences(self._scene.continued(text))

    def _draw_slots(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return what fills the slots, for both members of a pair: they differ in the group."""
        scene, picks, phrases = self._scene, self._picks, self._phrases
        family, level = scene.family, scene.causes.difficulty
        late = picks.of(range(FIRST_YEAR + LEAST_GAP, LAST_YEAR + 1))
        value, num_values = picks.of(range(len(family.values))), len(family.values)
        groups = [group for (group,) in phrases.groups[scene.bias_category].phrases]
        group = picks.of(range(len(groups)))
        # A pair that differs in a cause keeps its group: it may differ in nothing else.
        step = 1 + picks.of(range(len(groups) - 1)) if self._twin_cause is None else 0
        twin_group = (group + step) % len(groups)
        decoy_level = (level + picks.of((1, 2))) % len(LEVELS)
        slots = {
            "unknown": family.unknown,
            "claim": family.claim,
            "source": family.source,
            "source_noun": family.source.removeprefix("the "),
            "opinion": family.opinion,
            "measurable": family.measurable,
            "detail": scene.details[0],
            **{f"d{number}": detail for number, detail in enumerate(scene.details, 1)},
            "datum": family.datum,
            "v1": family.values[value],
            "v2": family.values[(value + 1) % num_values],
            "quantity": family.quantity,
            "a": family.goals[0],
            "b": family.goals[1],
            "lookup": family.lookup,
            "early": str(picks.of(range(FIRST_YEAR, late - LEAST_GAP + 1))),
            "late": str(late),
            "other": picks.of([other for (other,) in phrases.others.phrases if other != scene.person.name]),
            "level": phrases.levels[level].choose(picks),
            "decoy": phrases.levels[decoy_level].choose(picks),
            "calm": phrases.calm.choose(picks),
            "distressed": phrases.distressed.choose(picks),
            "group": groups[group],
        }
        return slots, {**slots, "group": groups[twin_group]}


def _is_loose(text: str) -> bool:
    return text.endswith(".") and not any(stop in text[:-1] for stop in ".?!;:")
