"""Signed telemetry against the real server: what is used up, what may come again, what is forged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from prometheus_client import REGISTRY

from tests.serving.signed_tokens import GATEWAY_KEY, signed, write_keys
from tests.serving.wrapped.servers import Exchange, MockUpstream, chat, completion, event

Wrapped = Callable[..., Any]
ROUTE = "/v1/chat/completions"
VERDICT = completion(json.dumps({"decision": "answer", "escalation_probability": 0.0}))


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return write_keys(tmp_path / "keys.json", [GATEWAY_KEY])


def ask(client: httpx.Client, headers: dict[str, str], **more: Any) -> tuple[int, str | None]:
    response = client.post(ROUTE, json=chat(**more), headers=headers)
    return response.status_code, None if response.status_code == 200 else response.json()["error"]["code"]


def alarms() -> float:
    return REGISTRY.get_sample_value("promethios_telemetry_forged_total", {"reason": "replayed"}) or 0.0


def failing_first(upstream: MockUpstream) -> None:
    """Let the first self-check fail, and all else go well."""

    async def reply(exchange: Exchange) -> None:
        if len(upstream.exchanges) == 1:
            await exchange.json({"error": "x"}, 500)
        else:
            await exchange.json(VERDICT)

    upstream.reply = reply


def test_a_token_answers_once_and_a_forged_one_never(wrapped: Wrapped, keys: Path, upstream: MockUpstream) -> None:
    with wrapped(telemetry_jwt_keys=keys) as client:
        headers = signed()
        assert ask(client, headers) == (200, None)
        assert ask(client, headers) == (403, "bad_telemetry_token")
        assert ask(client, signed(b"another secret that is long enough, too")) == (401, "bad_telemetry_token")
    assert len(upstream.exchanges) == 1


def test_a_request_that_is_told_to_try_again_can(wrapped: Wrapped, keys: Path, upstream: MockUpstream) -> None:
    failing_first(upstream)
    with wrapped(telemetry_jwt_keys=keys, self_check=True) as client:
        headers, before = signed(), alarms()
        assert ask(client, headers) == (503, "gate_failed")
        assert ask(client, headers) == (200, None)
        assert alarms() == before
        assert ask(client, headers) == (403, "bad_telemetry_token")


def test_openai_python_tries_again_by_itself_and_gets_its_answer(
    wrapped: Wrapped, keys: Path, upstream: MockUpstream
) -> None:
    failing_first(upstream)
    with wrapped(telemetry_jwt_keys=keys, self_check=True) as client:
        library = openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="x", max_retries=1)
        assert library.chat.completions.create(**chat(), extra_headers=signed()).choices


def test_an_answer_that_was_not_decided_in_time_gives_its_token_back(
    wrapped: Wrapped, keys: Path, upstream: MockUpstream
) -> None:
    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0 if len(upstream.exchanges) > 1 else 5)
        await exchange.json(VERDICT)

    upstream.reply = slow
    with wrapped(telemetry_jwt_keys=keys, self_check=True, request_timeout_s=0.5) as client:
        headers = signed()
        assert ask(client, headers) == (504, "request_timeout")
        assert ask(client, headers) == (200, None)


def test_a_decision_that_cannot_be_recorded_uses_no_token_up(
    wrapped: Wrapped, keys: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from promethios_serving.audit.audit_log import AuditLog, AuditLogBroken

    append = AuditLog.append

    def broken(*_: Any) -> str:
        raise AuditLogBroken("the disk is full")

    with wrapped(telemetry_jwt_keys=keys, audit_log=tmp_path / "audit.jsonl") as client:
        headers = signed()
        monkeypatch.setattr(AuditLog, "append", broken)
        assert ask(client, headers) == (503, "audit_unavailable")
        monkeypatch.setattr(AuditLog, "append", append)
        assert ask(client, headers) == (200, None)


@pytest.mark.parametrize("stream", [False, True])
def test_what_fails_after_the_decision_has_used_its_token_up(
    wrapped: Wrapped, keys: Path, upstream: MockUpstream, stream: bool
) -> None:
    async def cut(exchange: Exchange) -> None:
        if stream:
            await exchange.events(event("Water "))
        else:
            await exchange.json({"error": "x"}, 500)

    upstream.reply = cut
    with wrapped(telemetry_jwt_keys=keys) as client:
        headers = signed()
        assert ask(client, headers, stream=stream)[0] == (200 if stream else 502)
        assert ask(client, headers) == (403, "bad_telemetry_token")


def test_a_native_arm_decides_and_so_uses_the_token_up(wrapped: Wrapped, keys: Path, upstream: MockUpstream) -> None:
    experiment = keys.with_name("experiment.yaml")
    arm = f"engine: {{weight: 1, native: true, upstream: '{upstream.url}'}}"
    experiment.write_text(f"name: native_only\narms:\n  {arm}\n", encoding="utf-8")
    failing_first(upstream)
    with wrapped(telemetry_jwt_keys=keys, upstream_url=None, experiment_file=experiment) as client:
        headers = signed()
        assert ask(client, headers) == (502, "upstream_error")
        assert ask(client, headers) == (200, None)
        assert ask(client, headers) == (403, "bad_telemetry_token")
