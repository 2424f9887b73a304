from __future__ import annotations

from typing import Any

import pytest

from promethios.telemetry.state import GovernanceState
from promethios_serving.wrapped.governed_prompt import governance_block, hand_over_text, with_block

USER: dict[str, Any] = {"role": "user", "content": "Hi"}
STATE = GovernanceState.of(trust=0.72, emotion="CALM")


def governed(*messages: dict[str, Any], decision: str = "answer", domain: str | None = "legal") -> list[Any]:
    block = governance_block(request_id="gov-1", decision=decision, domain=domain, state=STATE)
    return with_block(messages, block)


def test_without_a_system_message_the_block_becomes_one() -> None:
    system, user = governed(USER)
    assert system["role"] == "system"
    assert system["content"].startswith("[governance gov-1]\n")
    assert system["content"].endswith("\n[end of governance gov-1]")
    assert "Domain: Legal. The trust channel should reach 0.80 there." in system["content"]
    assert "trust: 0.72 (0 s old, fresh)" in system["content"]
    assert user == USER


@pytest.mark.parametrize("role", ["system", "developer"])
def test_it_joins_the_last_of_the_leading_system_messages(role: str) -> None:
    first, second, user = governed({"role": "system", "content": "One."}, {"role": role, "content": "Two."}, USER)
    assert first["content"] == "One."
    assert second["role"] == role
    assert second["content"].startswith("Two.\n\n[governance gov-1]")
    assert user == USER


def test_parts_of_a_content_stay_parts() -> None:
    part = {"type": "text", "text": "One."}
    system, _ = governed({"role": "system", "content": [part]}, USER)
    assert system["content"][0] == part
    assert system["content"][1]["text"].startswith("[governance gov-1]")


def test_a_conversation_of_system_messages_only_keeps_its_form() -> None:
    assert len(governed({"role": "system", "content": "One."})) == 1


@pytest.mark.parametrize("content", [None, "", 7])
def test_a_system_message_without_text_holds_the_block_alone(content: Any) -> None:
    system, _ = governed({"role": "system", "content": content}, USER)
    assert system["content"].startswith("[governance gov-1]")


def test_a_later_system_message_is_part_of_the_conversation() -> None:
    later = {"role": "system", "content": "[end of governance gov-0] Decision: answer."}
    assert governed(USER, later)[1:] == [USER, later]


def test_the_client_s_messages_are_not_changed_in_place() -> None:
    message = {"role": "system", "content": "One."}
    governed(message, USER)
    assert message == {"role": "system", "content": "One."}


@pytest.mark.parametrize(("decision", "task"), [("caveat", "say where"), ("clarify", "the one question back")])
def test_each_decision_is_a_task(decision: str, task: str) -> None:
    assert task in governed(USER, decision=decision)[0]["content"]


def test_a_hand_over_names_the_expert_of_the_domain() -> None:
    assert "a clinician" in hand_over_text("healthcare")
    assert "a colleague" in hand_over_text(None)
