"""Responses fit what the request shows, and do not begin with their decision."""

from __future__ import annotations

from promethios.data.causes import UNCERTAINTY, TextCauses
from promethios.data.draws import Picks, uniforms
from promethios.data.families import Family, load_families
from promethios.data.responses import write_response
from promethios.data.scene import Scene


def responses(causes: TextCauses, decision: str, count: int = 150) -> list[tuple[Scene, str]]:
    written = []
    for row in uniforms(count, 64, "responses", decision, str(causes)):
        picks = Picks(row.tolist())
        family: Family = picks.of(load_families())
        scene = Scene(family, picks.of(family.items), picks.of(family.people), causes, 0)
        written.append((scene, write_response(scene, decision, "a clinician", picks)))
    return written


def test_a_clarification_asks_for_the_piece_that_the_request_lacks() -> None:
    cause = UNCERTAINTY.index("underspecified_context")
    for scene, text in responses(TextCauses(0, (cause,), False, False, "none"), "clarify"):
        assert scene.details[0] in text


def test_a_caveat_speaks_of_the_form_that_the_request_has() -> None:
    cause = UNCERTAINTY.index("false_premise")
    for scene, text in responses(TextCauses(0, (cause,), False, False, "none"), "caveat"):
        spoken_of = scene.family.datum if scene.is_compositional(cause) else scene.family.claim
        assert scene.answered(spoken_of) in text or "your plan and your facts" in text


def test_a_look_up_that_cannot_be_relied_on_is_a_caveat_of_its_own() -> None:
    for scene, text in responses(TextCauses(0, (), False, False, "unreliable"), "caveat"):
        assert scene.answered(scene.family.lookup) in text


def test_a_look_up_that_is_still_to_be_made_is_handed_to_the_user() -> None:
    for scene, text in responses(TextCauses(0, (), False, False, "needed"), "answer"):
        assert scene.answered(scene.family.lookup) in text


def test_an_escalation_without_distress_offers_no_comfort() -> None:
    plain = TextCauses(0, (), False, False, "none")
    openings = {text.split()[0] for _, text in responses(plain, "escalate")}
    assert openings == {text.split()[0] for _, text in responses(plain, "answer")}
