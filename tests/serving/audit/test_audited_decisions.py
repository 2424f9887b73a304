from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from promethios.telemetry import tags
from promethios.telemetry.state import GovernanceState
from promethios_serving.access.caller import Caller, TenantPolicy
from promethios_serving.audit.audit_log import AuditLog
from promethios_serving.engine_hook import EngineTypes, GovernedEngine
from promethios_serving.governor import Governor
from promethios_serving.openai_errors import RequestRefused
from promethios_serving.request_context import CURRENT, GovernedRequest
from promethios_serving.reviews.review_record import DecidingModel
from promethios_serving.telemetry.subject import Subject
from tests.serving.conftest import sampling

MODEL = DecidingModel(name="promethios", weights_sha256="a" * 64, certificate_sha256="c" * 64)
ANSWERS = (9.0, *[0.0] * 17)


def ask(engine: Any, governor: Governor, audit: AuditLog, request: GovernedRequest) -> list[Any]:
    types = EngineTypes(gate_sampling="GATE", failures=(RuntimeError,), refusal=lambda refusal: refusal)
    hook = GovernedEngine(
        engine.generate, governor, types, max_model_len=100, on_gate_failure="escalate", model=MODEL, audit=audit
    )

    async def run() -> list[Any]:
        CURRENT.set(request)
        prompt = {"type": "token", "prompt_token_ids": [1000, 1001]}
        return [output async for output in hook.generate(prompt, sampling(), "req-1")]

    return asyncio.run(run())


def request_of(**changes: Any) -> GovernedRequest:
    policy = TenantPolicy(minimum_decision="clarify")
    request = {
        "route": "/v1/chat/completions",
        "domain": "healthcare",
        "telemetry": GovernanceState.of(trust=0.9, verify=0.9, attest=0.9, bound=0.9),
        "caller": Caller(key_id="acme-app", tenant="acme", policy=policy),
        "subject": Subject(tenant="acme", session="s-1"),
        "client_request_id": "req-7",
        "messages": [{"role": "user", "content": "my secret"}],
    }
    return GovernedRequest(**{**request, **changes})


def test_the_record_says_who_asked_what_was_known_and_what_was_decided(
    engine: Any, governor: Governor, tmp_path: Path
) -> None:
    audit = AuditLog(tmp_path / "audit.jsonl")
    engine.scores = ANSWERS
    request = request_of()
    ask(engine, governor, audit, request)
    audit.close()
    line = audit.path.read_text(encoding="utf-8")
    record = json.loads(line)
    outcome = request.outcome
    assert outcome is not None
    assert (
        record.items()
        >= {
            "id": request.id,
            "request_id": "req-7",
            "key": "acme-app",
            "tenant": "acme",
            "agent": None,
            "session": "s-1",
            "domain": "healthcare",
            "scores": pytest.approx(list(ANSWERS)),
            "probability": outcome.probability,
            "threshold": 0.2,
            "decision": "clarify",
            "forced_by": "minimum_decision",
            "model": {"name": "promethios", "weights_sha256": "a" * 64, "certificate_sha256": "c" * 64},
        }.items()
    )
    state = tags.parse(record["telemetry"])
    assert state.trust is not None
    assert state.trust.value == 0.9
    assert "secret" not in line


def test_a_decision_without_a_gate_is_recorded_as_such(engine: Any, governor: Governor, tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.jsonl")
    engine.failure = RuntimeError("out of memory")
    ask(engine, governor, audit, request_of())
    audit.close()
    record = json.loads(audit.path.read_bytes())
    assert (record["decision"], record["forced_by"], record["scores"]) == ("escalate", "gate_failure", [])


def test_a_decision_that_cannot_be_recorded_gets_no_answer(engine: Any, governor: Governor, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    audit = AuditLog(folder / "audit.jsonl")
    audit.path.unlink()
    folder.rmdir()
    engine.scores = ANSWERS
    with pytest.raises(RequestRefused) as refused:
        ask(engine, governor, audit, request_of())
    assert refused.value.reason == "audit_unavailable"
    assert [call.id for call in engine.calls] == ["req-1-gate"]


def test_the_warm_up_is_not_recorded(engine: Any, governor: Governor, tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.jsonl")
    ask(engine, governor, audit, request_of(counted=False))
    audit.close()
    assert audit.path.read_bytes() == b""
