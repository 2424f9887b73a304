"""The assistant's side: 18 to 45 friendly, professional words that fit the decision and name no number or metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

from promethios.data.causes import UNCERTAINTY
from promethios.data.draws import Picks
from promethios.data.phrase_banks import Bank, WordingFile, open_wording
from promethios.data.scene import Scene, sentence

MIN_WORDS: Final = 18
MAX_WORDS: Final = 45
CLOSING_CHANCE: Final = 0.35
NEXT_STEP_CHANCE: Final = 0.5
DRAFTS: Final = 3

_SLOTS: Final = frozenset((
    "topic", "first", "First", "second", "unknown", "quantity", "claim", "datum", "source", "opinion", "limit",
    "lookup", "detail", "a", "b", "meanwhile", "expert",
))  # fmt: skip
_UNKNOWN, _PREMISE, _CONTEXT = map(UNCERTAINTY.index, ("unknown_answer", "false_premise", "underspecified_context"))
_COMPOSITIONAL_LIMIT: Final = {_UNKNOWN: "caveat.unknown_figure", _PREMISE: "caveat.false_value"}
"""The honest limit where a request says a cause by a year or a value that does not fit."""


def write_response(scene: Scene, decision: str, expert: str, picks: Picks) -> str:
    """Return the assistant's message for one of DECISIONS: the first draft of at most MAX_WORDS words, or the shortest.

    expert: whom requests of the domain are handed to, in words.
    """
    slots = _slots(scene, expert)
    drafts = []
    for _ in range(DRAFTS):
        drafts.append(_draft(scene, decision, slots, picks))
        if _words(drafts[-1]) <= MAX_WORDS:
            return drafts[-1]
    return min(drafts, key=_words)


@cache
def _file() -> WordingFile:
    return open_wording("responses", _SLOTS)


@cache
def _bank(key: str) -> Bank[str]:
    return _file().bank(key)


def comfort() -> tuple[str, ...]:
    """Return how a response to somebody in distress begins."""
    return tuple(phrase for variants in _bank("comfort").phrases for phrase in variants)


def _slots(scene: Scene, expert: str) -> dict[str, str]:
    family = scene.family
    return {
        "topic": family.topic,
        "unknown": family.unknown,
        "quantity": family.quantity,
        "claim": family.claim,
        "datum": family.datum,
        "source": family.source,
        "opinion": family.opinion,
        "limit": family.limit,
        "lookup": family.lookup,
        "detail": scene.details[0],
        "a": family.goals[0],
        "b": family.goals[1],
        "meanwhile": family.meanwhile,
        "expert": expert,
    }


def _draft(scene: Scene, decision: str, slots: Mapping[str, str], picks: Picks) -> str:
    advice = scene.family.advice
    skipped = picks.of(range(len(advice)))
    first, second = [step for number, step in enumerate(advice) if number != skipped][:2]
    keys = ["comfort" if scene.causes.affect else "opening", *_PARTS[decision](scene, picks)]
    text = " ".join(_bank(key).choose(picks) for key in keys)
    return scene.answered(text.format_map({**slots, "first": first, "First": sentence(first), "second": second}))


def _words(text: str) -> int:
    return text.count(" ") + 1


def _answer(scene: Scene, picks: Picks) -> list[str]:
    return ["answer.steps", *(_of_look_up(scene) or _closing("answer", picks))]


def _caveat(scene: Scene, picks: Picks) -> list[str]:
    limit = _limit(scene)
    look_up = [] if limit == "caveat.unreliable" else _of_look_up(scene)
    return ["caveat.step", limit, *(look_up or _closing("caveat", picks))]


def _limit(scene: Scene) -> str:
    """Return the bank of what the answer cannot promise: of the leading cause, or of the next thing that is open."""
    causes = scene.causes
    leading = causes.leading
    if leading is not None and not causes.is_underspecified:
        compositional = _COMPOSITIONAL_LIMIT.get(leading) if scene.is_compositional(leading) else None
        return compositional or f"caveat.{UNCERTAINTY[leading]}"
    if causes.tool == "unreliable":
        return "caveat.unreliable"
    return "caveat.bias" if causes.bias else "caveat.plain"


def _clarify(scene: Scene, picks: Picks) -> list[str]:
    question = "clarify.fact" if scene.causes.leading == _CONTEXT else "clarify.intent"
    unreliable = ["look_up.unreliable"] if scene.causes.tool == "unreliable" else []
    return [question, *(unreliable or _closing("clarify", picks))]


def _escalate(scene: Scene, picks: Picks) -> list[str]:
    if scene.causes.affect:
        return ["escalate.together", "escalate.meanwhile"]
    next_step = ["escalate.next_step"] if picks.chance(NEXT_STEP_CHANCE) else []
    return ["escalate.consult", *next_step, "escalate.meanwhile"]


def _of_look_up(scene: Scene) -> list[str]:
    return [] if scene.causes.tool == "none" else [f"look_up.{scene.causes.tool}"]


def _closing(decision: str, picks: Picks) -> list[str]:
    return [f"{decision}.closing"] if picks.chance(CLOSING_CHANCE) else []


_PARTS: Final[dict[str, Callable[[Scene, Picks], list[str]]]] = {
    "answer": _answer,
    "caveat": _caveat,
    "clarify": _clarify,
    "escalate": _escalate,
}
"""The banks that follow the opening."""
