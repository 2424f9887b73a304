from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promethios.data.feedback_records import read_records
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.header import DECISIONS
from promethios.telemetry.state import GovernanceState
from promethios_hub.records import Record
from promethios_serving.access.caller import Caller
from promethios_serving.request_context import GovernedRequest, Outcome
from promethios_serving.reviews.conversation import plain_conversation
from promethios_serving.reviews.review_record import DecidingModel, review_record, uncertainty
from promethios_serving.telemetry.subject import Subject
from tests.serving.reviews.test_conversation import BODIES

MODEL = DecidingModel(name="promethios", weights_sha256="a" * 64, certificate_sha256="b" * 64)
STATE = GovernanceState.of(trust=0.3, emotion="ANXIOUS").aged(12.0)
SCORES = (2.0, 0.0, 0.0, 1.0, *[0.5] * 14)
FEEDBACK_KEYS = {
    "id", "time", "messages", "governance", "decision", "probability", "threshold", "response", "reviewed_because",
    "propensity",
}  # fmt: skip


def decided(**changes: Any) -> GovernedRequest:
    outcome: dict[str, Any] = {
        "decision": "escalate",
        "probability": 0.6,
        "threshold": 0.4,
        "degraded": False,
        "scores": SCORES,
        "probabilities": (0.2, 0.1, 0.1, 0.6),
        "principles": None,
    }
    request: dict[str, Any] = {
        "route": "/v1/chat/completions",
        "domain": "healthcare",
        "messages": [{"role": "user", "content": "What dose is safe?"}],
        "caller": Caller(key_id="acme-app", tenant="acme"),
        "subject": Subject(tenant="acme", agent="triage", session="s-1"),
        "client_request_id": "req-7",
    }
    outcome |= {name: changes.pop(name) for name in list(changes) if name in outcome}
    return GovernedRequest(**(request | changes), outcome=Outcome(**outcome))


def record(request: GovernedRequest, response: str | None = "Ask a clinician.", **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"because": "escalated", "propensity": 1.0, "engine": "engine-0", "model": MODEL}
    return review_record(request, STATE, response=response, **(given | changes))


def test_a_record_says_what_was_asked_decided_and_answered_and_by_which_model() -> None:
    request = decided()
    made = record(request)
    assert made["id"] == request.id
    assert made["messages"] == [{"role": "user", "content": "What dose is safe?"}]
    assert made["governance"]["domain"] == "healthcare"
    assert GovernanceState.from_mapping(made["governance"]["state"]) == STATE
    assert made["probabilities"] == dict(zip(DECISIONS, (0.2, 0.1, 0.1, 0.6), strict=True))
    assert made["subject"] == {"tenant": "acme", "agent": "triage", "session": "s-1"}
    assert made["model"] == {"name": "promethios", "weights_sha256": "a" * 64, "certificate_sha256": "b" * 64}
    assert made["request_id"] == "req-7"


def test_training_reads_the_keys_that_it_knows(tmp_path: Path) -> None:
    made = record(decided(), because="audit", propensity=0.02)
    line = {name: made[name] for name in FEEDBACK_KEYS}
    (tmp_path / "feedback.jsonl").write_text(json.dumps(line), encoding="utf-8")
    [read] = read_records([tmp_path / "feedback.jsonl"])
    assert (read.reviewed_because, read.propensity, read.state) == ("audit", 0.02, STATE)


def test_uncertainty_is_a_probability_for_each_of_six_dimensions() -> None:
    scores = [0.0] * 18
    scores[5] = 3.0
    found = uncertainty(tuple(scores))
    assert len(found) == 6
    assert next(iter(found.values())) == pytest.approx(1 / (1 + math.exp(-3.0)), abs=1e-4)
    assert set(list(found.values())[1:]) == {0.5}
    assert uncertainty(()) == {}
    assert set(uncertainty((-1e9,) * 18).values()) == {0.0}


def test_the_principles_that_fired_have_sentences_and_their_weights_sum_to_one() -> None:
    shares = {"fail_safe": 0.5, "of_an_older_ontology": 0.2, "life_first": 0.0}
    made = record(decided(principles=shares))
    assert [(each["id"], each["weight"]) for each in made["principles"]] == [
        ("fail_safe", 0.5),
        (None, 0.3),
        ("of_an_older_ontology", 0.2),
        ("life_first", 0.0),
    ]
    sentences = {each["id"]: each["sentence"] for each in made["principles"]}
    assert sentences["fail_safe"] == load_ontology().principles["fail_safe"].sentence
    assert (sentences["of_an_older_ontology"], sentences[None]) == ("of_an_older_ontology", None)
    Record.model_validate(made)


def test_a_model_that_does_not_tell_its_principles_has_none_in_the_record() -> None:
    made = record(decided())
    assert made["principles"] is None
    Record.model_validate(made)


def test_an_escalation_without_a_probability_is_told_as_certain() -> None:
    made = record(decided(probability=None, scores=(), probabilities=()), None)
    assert (made["probability"], made["probabilities"], made["response"]) == (1.0, {}, None)
    Record.model_validate(made)


@given(body=BODIES, answer=st.text(min_size=1))
def test_the_hub_takes_the_record_of_any_conversation(body: dict[str, Any], answer: str) -> None:
    request = decided(messages=plain_conversation(body))
    Record.model_validate(json.loads(json.dumps(record(request, answer))))


def test_the_hub_takes_an_endless_conversation_cut_to_what_a_person_reads() -> None:
    messages = [{"role": "user", "content": "a\x00b\ud800"}] * 5000 + [{"role": "user", "content": "x" * 4_000_000}]
    made = record(decided(messages=messages), "y" * 4_000_000)
    Record.model_validate(made)
    assert made["messages"][-1]["content"].endswith("[3500000 more characters]")
    assert "\x00" not in made["messages"][0]["content"]
