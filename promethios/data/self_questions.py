"""What the assistant may ask itself before it decides, and the true answer: short, hidden from the user."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from promethios.data.causes import UNCERTAINTY
from promethios.data.draws import Picks
from promethios.data.phrase_banks import Bank, Contrast, open_wording
from promethios.data.scene import Scene

MAX_QUESTIONS: Final = 2
NONE_CHANCE: Final = 0.1
SECOND_CHANCE: Final = 0.5

_OTHER: Final = ("affect", "bias", "unreliable", "needed")
_SLOTS: Final = frozenset({"source", "detail", "a", "b"})


def write_self_questions(scene: Scene, picks: Picks) -> tuple[str, ...]:
    """Return up to MAX_QUESTIONS questions with their answers, the leading cause first; some ask in vain."""
    if picks.chance(NONE_CHANCE):
        return ()
    causes = scene.causes
    there = {
        **{name: index in causes.uncertainty for index, name in enumerate(UNCERTAINTY)},
        "affect": causes.affect,
        "bias": causes.bias,
        "unreliable": causes.tool == "unreliable",
        "needed": causes.tool == "needed",
    }
    in_vain = [name for name in picks.shuffled(tuple(UNCERTAINTY)) if not there[name]]
    real = [name for name in (*UNCERTAINTY, *_OTHER) if there[name]]
    if causes.leading is not None:
        real.sort(key=lambda name: name != UNCERTAINTY[causes.leading or 0])
    count = 1 + picks.chance(SECOND_CHANCE)
    asked = [*real, *in_vain][:count]
    return tuple(_asked(name, there=there[name], scene=scene, picks=picks) for name in asked)


def _asked(name: str, *, there: bool, scene: Scene, picks: Picks) -> str:
    contrast = _bank(name).choose(picks)
    return scene.continued((contrast.active if there else contrast.resolved).format_map(_filling(scene)))


def _filling(scene: Scene) -> Mapping[str, str]:
    family = scene.family
    return {"source": family.source, "detail": scene.details[0], "a": family.goals[0], "b": family.goals[1]}


@cache
def _bank(name: str) -> Bank[Contrast]:
    return open_wording("self_questions", _SLOTS).contrasts(name)
