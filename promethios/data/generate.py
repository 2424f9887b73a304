"""From candidates to examples: realise texts, decide, and name the norms in play."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

from promethios.data.attacks import write_spoof
from promethios.data.causes import (
    ACTIVE_STRENGTH,
    INACTIVE_STRENGTH,
    MAX_DIFFICULTY,
    TEXT_CAUSES,
    UNCERTAINTY,
    TextCauses,
    demanded_competence,
)
from promethios.data.draws import Picks, uniforms
from promethios.data.example import BEHAVIOURS, PAIR_MEMBERS, Evidence, Example, Pair
from promethios.data.mixture import BLOCK, DIGITS, Candidates, Split
from promethios.data.pairs import removed_cause
from promethios.data.prompts import Written, write_cue_pair, write_group_pair, write_request
from promethios.data.responses import write_response
from promethios.data.scene import Scene
from promethios.data.self_questions import write_self_questions
from promethios.data.splits import PLANS, Part
from promethios.ontology.decision import ESCALATE, decide
from promethios.ontology.governance_ontology import Ontology
from promethios.telemetry.header import DECISIONS, NUM_BIAS

WORDING_COLUMNS: Final = 256
"""Uniform numbers for one example's text, or one pair's: more than its longest series of drafts takes."""
SPOOF_CHANCE: Final = 0.05
"""How often the user's text holds an attack; it is only text, and changes no label."""
SPOOF_FIRST_CHANCE: Final = 0.3
"""How often an attack stands before the request rather than after it."""


@dataclass(frozen=True, slots=True)
class _Text:
    scene: Scene
    written: Written
    is_spoofed: bool = False


class ExampleWriter:
    """Writes the examples of one of SPLITS."""

    def __init__(self, name: str, ontology: Ontology) -> None:
        self._name = name
        self._plan = PLANS[name]
        self._ontology = ontology

    def examples(self, part: Part, start: int = 1) -> Iterator[Example]:
        """Yield the examples of a part of the split, the members of a pair one after the other.

        start: the number of the first example, or of the first pair.
        """
        for row in range(len(part.members[0])):
            number = f"{start + row:05d}"
            if row % BLOCK == 0:
                wording = uniforms(BLOCK, WORDING_COLUMNS, *part.split.key("wording", row // BLOCK))
            picks = Picks(wording[row % BLOCK].tolist())
            texts = self._texts(part, row, picks)
            for letter, candidates, text in zip(PAIR_MEMBERS, part.members, texts, strict=False):
                if part.kind is None:
                    yield self._example(f"{self._name}-{number}", part.split, candidates, row, text, picks)
                else:
                    pair = Pair(f"{self._name.removesuffix('_pairs')}-{number}", part.kind, letter)
                    example_id = f"{self._name}-{number}-{letter}"
                    yield self._example(example_id, part.split, candidates, row, text, picks, pair)

    def _texts(self, part: Part, row: int, picks: Picks) -> tuple[_Text, ...]:
        first, *others = (TEXT_CAUSES[int(member.causes[row])] for member in part.members)
        scene = self._scene(part.split, part.members[0], row, first, picks)
        if part.kind == "text_cue":
            cause = removed_cause(*(int(member.causes[row]) for member in part.members))
            with_cue, without = write_cue_pair(scene, cause, picks)
            return _Text(scene, with_cue), _Text(replace(scene, causes=others[0]), without)
        if part.kind == "bias":
            one, other = write_group_pair(scene, picks)
            return _Text(scene, one), _Text(scene, other)
        text = _Text(scene, write_request(scene, picks))
        if part.kind == "stale_channel":
            return text, text
        if part.kind == "spoof":
            # Half of the attacks that a model is tested with are of forms that training does not show.
            return text, self._spoofed(text, picks, held_out=self._plan.use != "train" and row % 2 == 1)
        if picks.chance(SPOOF_CHANCE):
            return (self._spoofed(text, picks, held_out=self._plan.held_out_wording),)
        return (text,)

    def _scene(self, split: Split, candidates: Candidates, row: int, causes: TextCauses, picks: Picks) -> Scene:
        family = split.families[candidates.family[row]]
        return Scene(
            family,
            picks.of(self._plan.items_of(family)),
            picks.of(family.people),
            causes,
            bias_category=picks.of(range(NUM_BIAS)),
            held_out_wording=self._plan.held_out_wording,
        )

    def _spoofed(self, text: _Text, picks: Picks, *, held_out: bool) -> _Text:
        attack = write_spoof(picks, held_out)
        first, *rest = text.written.messages
        parts, evidence = [first["content"], attack], text.written.evidence
        if picks.chance(SPOOF_FIRST_CHANCE):
            parts.reverse()
            moved = len(attack) + 1
            evidence = tuple(item if item.message else replace(item, end=item.end + moved) for item in evidence)
        attack_ends = len(attack) if parts[0] is attack else len(first["content"]) + 1 + len(attack)
        evidence = tuple(sorted((*evidence, Evidence(0, attack_ends, "nothing")), key=attrgetter("message", "end")))
        messages = ({"role": first["role"], "content": " ".join(parts)}, *rest)
        return _Text(text.scene, Written(messages, text.written.template, evidence), is_spoofed=True)

    def _example(
        self,
        example_id: str,
        split: Split,
        candidates: Candidates,
        row: int,
        text: _Text,
        picks: Picks,
        pair: Pair | None = None,
    ) -> Example:
        scene = text.scene
        causes, domain = scene.causes, self._ontology.domain(scene.family.domain)
        state = candidates.telemetry.state(row)
        degraded = state is None or state.is_degraded()
        soft_label = _soft_label(float(candidates.probability[row]), int(candidates.right[row]))
        decision = decide(soft_label, domain.escalation_threshold, degraded=degraded)
        response = write_response(scene, decision, domain.expert, picks)
        return Example(
            id=example_id,
            messages=(*text.written.messages, {"role": "assistant", "content": response}),
            state=state,
            header_domain=None if candidates.header_dropped[row] else domain.name,
            decision=decision,
            behaviour=BEHAVIOURS[candidates.behaviour[row]],
            escalate=int(candidates.outcome[row]),
            soft_label=soft_label,
            confidence=float(candidates.confidence[row]),
            uncertainty=tuple(_strength(index in causes.uncertainty) for index in range(len(UNCERTAINTY))),
            bias=tuple(_strength(causes.bias and index == scene.bias_category) for index in range(NUM_BIAS)),
            tool=int(causes.calls_for_tool),
            tool_state=causes.tool,
            demand=demanded_competence(causes, domain.required_trust),
            difficulty=causes.difficulty / MAX_DIFFICULTY,
            affect=float(causes.affect),
            evidence=text.written.evidence,
            self_questions=write_self_questions(scene, picks),
            norms=_norms(domain.norms, causes, decision, degraded, text.is_spoofed, self._ontology),
            family=scene.family.id,
            template=text.written.template,
            pair=pair,
            domain=domain.name,
            split=self._name,
        )


def _soft_label(probability: float, right: int) -> tuple[float, ...]:
    """Put P(escalate) on escalate and the rest on the best other decision."""
    label = [0.0] * len(DECISIONS)
    label[right] = round(1.0 - probability, DIGITS)
    label[ESCALATE] = probability
    return tuple(label)


def _strength(active: bool) -> float:
    return ACTIVE_STRENGTH if active else INACTIVE_STRENGTH


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
