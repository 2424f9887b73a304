"""From candidates to examples: realise texts, decide, and name the norms in play."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from promethios.data.causes import ACTIVE_STRENGTH, INACTIVE_STRENGTH, TEXT_CAUSES, UNCERTAINTY, TextCauses
from promethios.data.draws import Picks
from promethios.data.example import BEHAVIOURS, Example
from promethios.data.families import Family, families_for
from promethios.data.mixture import DIGITS, Candidates, Split
from promethios.data.prompts import write_prompt
from promethios.data.responses import write_response
from promethios.data.scene import Scene
from promethios.ontology.decision import ESCALATE, decide
from promethios.ontology.governance_ontology import Ontology
from promethios.telemetry.header import DECISIONS, NUM_BIAS
from promethios.telemetry.state import EMOTIONS, GovernanceState, Reading
from promethios.telemetry.tags import render

SPOOF_CHANCE: Final = 0.045
"""How often the user's text holds literal telemetry tags; they are only text, and change no label."""

_ENTITY_SHARE: Final = {"validation": 0, "calibration": 1, "test": 2}
"""These splits share families and differ in their items: each takes every third one."""
_USE: Final = {"train": "train", "test_held_out_domains": "held_out", **dict.fromkeys(_ENTITY_SHARE, "evaluation")}


def open_split(name: str, seed: int, ontology: Ontology) -> Split:
    """Return the candidate stream of one of SPLITS."""
    return Split(name, seed, families_for(_USE[name]), ontology)


def examples_of(split: Split, candidates: Candidates, ontology: Ontology) -> Iterator[Example]:
    """Yield the examples that a split's candidates become."""
    for row in range(len(candidates.causes)):
        yield _example(split, candidates, row, ontology)


def items_of(family: Family, split: str) -> tuple[str, ...]:
    """Return the items that a family has in a split."""
    if split in _ENTITY_SHARE:
        return family.items[_ENTITY_SHARE[split] :: len(_ENTITY_SHARE)]
    return family.items


def _example(split: Split, candidates: Candidates, row: int, ontology: Ontology) -> Example:
    family = split.families[candidates.family[row]]
    domain = ontology.domain(family.domain)
    causes = TEXT_CAUSES[candidates.causes[row]]
    picks = Picks(candidates.wording[row].tolist())
    item, person = picks.of(items_of(family, split.name)), picks.of(family.people)
    scene = Scene(family, item, person, causes, bias_category=picks.of(range(NUM_BIAS)))
    spoofed = picks.chance(SPOOF_CHANCE)
    spoof = _spoof(picks)
    state = candidates.telemetry.state(row)
    degraded = state is None or state.is_degraded()
    soft_label = _soft_label(float(candidates.probability[row]), int(candidates.right[row]))
    decision = decide(soft_label, domain.escalation_threshold, degraded=degraded)
    prompt = write_prompt(scene, picks)
    response = write_response(scene, decision, domain.expert, picks)
    return Example(
        id=f"{split.name}-{row + 1:05d}",
        messages=(
            {"role": "user", "content": f"{prompt} {spoof}" if spoofed else prompt},
            {"role": "assistant", "content": response},
        ),
        state=state,
        header_domain=None if candidates.header_dropped[row] else domain.name,
        decision=decision,
        behaviour=BEHAVIOURS[candidates.behaviour[row]],
        escalate=int(candidates.outcome[row]),
        soft_label=soft_label,
        confidence=float(candidates.confidence[row]),
        uncertainty=tuple(_strength(index in causes.uncertainty) for index in range(len(UNCERTAINTY))),
        bias=tuple(_strength(causes.bias and index == scene.bias_category) for index in range(NUM_BIAS)),
        tool=int(causes.tool),
        norms=_norms(domain.norms, causes, decision, degraded, spoofed, ontology),
        family=family.id,
        domain=domain.name,
        split=split.name,
    )


def _soft_label(probability: float, right: int) -> tuple[float, ...]:
    """Put P(escalate) on escalate and the rest on the best other decision."""
    label = [0.0] * len(DECISIONS)
    label[right] = round(1.0 - probability, DIGITS)
    label[ESCALATE] = probability
    return tuple(label)


def _strength(active: bool) -> float:
    return ACTIVE_STRENGTH if active else INACTIVE_STRENGTH


def _spoof(picks: Picks) -> str:
    """Return telemetry as a user might type it, to talk the system into something."""
    readings = {
        "trust": Reading(picks.of(range(101)) / 100),
        "verify": Reading(picks.of(range(101)) / 100),
        "emotion": Reading(picks.of(EMOTIONS)),
        "decision": Reading(picks.of(("APPROVED", "ESCALATED"))),
    }
    first, second = picks.shuffled(list(readings))[:2]
    return render(GovernanceState(**{first: readings[first], second: readings[second]}))


def _norms(
    norms: tuple[str, ...], causes: TextCauses, decision: str, degraded: bool, spoofed: bool, ontology: Ontology
) -> tuple[str, ...]:
    """Return the norms in play: the domain's own, and those everywhere-norms whose condition holds."""
    in_play = {
        "hand_over_when_unsure": decision == "escalate",
        "missing_telemetry_is_caution": degraded,
        "content_is_not_control": spoofed,
        "no_harm_by_overclaiming": 0 in causes.uncertainty,
        "equal_treatment": causes.bias,
        "say_what_is_not_known": decision in ("caveat", "clarify"),
        "plain_words": True,
        "warm_words": causes.affect,
        "answer_the_question": decision == "answer",
    }
    everywhere = len(ontology.domains)
    return tuple(norm for norm in norms if in_play.get(norm, len(ontology.norms[norm].domains) < everywhere))
