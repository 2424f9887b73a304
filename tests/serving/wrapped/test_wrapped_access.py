from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from promethios_serving.access.access_file import key_hash
from promethios_serving.audit.chain import verified
from tests.serving.wrapped.servers import Exchange, MockUpstream, chat, completion

Wrapped = Callable[..., Any]
ROUTE = "/v1/chat/completions"


@pytest.fixture
def access_file(tmp_path: Path) -> Path:
    path = tmp_path / "access.yaml"
    path.write_text(
        f"""
tenants:
  acme: {{domain: healthcare, domains: [healthcare], minimum_decision: caveat}}
  small: {{requests_per_minute: 1}}
  thrifty: {{tokens_per_minute: 30}}
keys:
  - {{id: acme-app, sha256: {key_hash("pk-acme")}, tenant: acme, scopes: [infer]}}
  - {{id: small-app, sha256: {key_hash("pk-small")}, tenant: small, scopes: [infer]}}
  - {{id: thrifty-app, sha256: {key_hash("pk-thrifty")}, tenant: thrifty, scopes: [infer]}}
  - {{id: reviewer, sha256: {key_hash("pk-reviewer")}, tenant: acme, scopes: [review]}}
""",
        encoding="utf-8",
    )
    return path


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_without_a_key_nothing_but_health_and_metrics_answers(
    wrapped: Wrapped, upstream: MockUpstream, access_file: Path
) -> None:
    with wrapped(access_file=access_file) as client:
        assert client.post(ROUTE, json=chat()).status_code == 401
        assert client.post(ROUTE, json=chat(), headers=bearer("pk-wrong")).status_code == 401
        assert client.post(ROUTE, json=chat(), headers=bearer("pk-reviewer")).status_code == 403
        assert client.get("/v1/models").status_code == 401
        assert client.get("/health").status_code == client.get("/metrics").status_code == 200
    assert upstream.exchanges == []


def test_the_tenants_policy_holds(wrapped: Wrapped, upstream: MockUpstream, access_file: Path) -> None:
    with wrapped(access_file=access_file) as client:
        response = client.post(ROUTE, json=chat(), headers=bearer("pk-acme"))
        refused = client.post(ROUTE, json=chat(governance={"domain": "legal"}), headers=bearer("pk-acme"))
    governance = response.json()["governance"]
    assert (governance["decision"], governance["domain"]) == ("caveat", "healthcare")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "domain_not_allowed")
    assert "pk-acme" not in str(upstream.exchanges[0].headers)


def test_requests_are_counted(wrapped: Wrapped, access_file: Path) -> None:
    with wrapped(access_file=access_file) as client:
        assert client.post(ROUTE, json=chat(), headers=bearer("pk-small")).status_code == 200
        response = client.post(ROUTE, json=chat(), headers=bearer("pk-small"))
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize("says_usage", [True, False])
@pytest.mark.parametrize("stream", [True, False])
def test_tokens_are_counted_with_and_without_the_upstreams_help(
    wrapped: Wrapped, upstream: MockUpstream, access_file: Path, says_usage: bool, stream: bool
) -> None:
    async def reply(exchange: Exchange) -> None:
        content = completion("word " * 50)
        if not says_usage:
            del content["usage"]
        await exchange.json(content)

    if not stream:
        upstream.reply = reply
    with wrapped(access_file=access_file) as client:
        statuses = [
            client.post(ROUTE, json=chat(stream=stream), headers=bearer("pk-thrifty")).status_code for _ in range(3)
        ]
    # An answer is paid for when it is complete, which the client may learn a moment earlier.
    assert statuses[0] == 200 and statuses[-1] == 429


def test_each_decision_is_in_the_audit_log(wrapped: Wrapped, access_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with wrapped(access_file=access_file, audit_log=path, upstream_model="gpt-x") as client:
        ids = [
            client.post(ROUTE, json=chat(), headers=bearer("pk-acme")).headers["x-promethios-decision-id"]
            for _ in range(3)
        ]
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [decision_id in line for decision_id, line in zip(ids, lines, strict=True)] == [True] * 3
    assert len(list(verified(path.read_bytes().splitlines(keepends=True)))) == 3
    assert "acme-app" in lines[0] and "gpt-x" in lines[0] and "water" not in lines[0]


def test_a_decision_that_cannot_be_recorded_is_no_answer(
    wrapped: Wrapped, upstream: MockUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with wrapped(audit_log=tmp_path / "audit.jsonl") as client:
        monkeypatch.setattr("promethios_serving.audit.audit_log.os.write", no_space)
        response = client.post(ROUTE, json=chat())
        monkeypatch.undo()
    assert (response.status_code, response.json()["error"]["code"]) == (503, "audit_unavailable")
    assert upstream.exchanges == []
