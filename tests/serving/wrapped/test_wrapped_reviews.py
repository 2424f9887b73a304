from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.serving.wrapped.servers import ANSWER, Exchange, Hub, MockUpstream, chat, event

Wrapped = Callable[..., Any]
ROUTE = "/v1/chat/completions"
LOW_TRUST = "trust: 0.1\nverify: 0.9\nattest: 0.9\nbound: 0.9\n"


@pytest.mark.parametrize("stream", [False, True])
def test_an_escalation_is_safe_before_its_first_byte_and_its_answer_follows(
    wrapped: Wrapped, hub: Hub, telemetry_file: Path, tmp_path: Path, stream: bool
) -> None:
    telemetry_file.write_text(LOW_TRUST, encoding="utf-8")
    with wrapped(hub_url=hub.url, spool_dir=tmp_path / "spool", upstream_model="gpt-x") as client:
        response = client.post(ROUTE, json=chat("May I take more?", stream=stream))
        first, second = hub.wait_for(2, "reviews")
    decision_id = response.headers["x-promethios-decision-id"]
    assert f'"review_id": "{decision_id}"' in response.text
    assert (first["id"], second["id"]) == (decision_id, decision_id)
    assert (first["response"], first["reviewed_because"]) == (None, "escalated")
    assert second["response"] == "I am handing this over to a colleague, who will take it from here."
    assert first["messages"] == [{"role": "user", "content": "May I take more?"}]
    assert first["model"] == {"name": "gpt-x", "weights_sha256": None, "certificate_sha256": None}
    assert first["uncertainty"] == {}


def test_an_escalation_that_cannot_be_kept_safe_is_refused(
    wrapped: Wrapped, hub: Hub, upstream: MockUpstream, telemetry_file: Path, tmp_path: Path
) -> None:
    telemetry_file.write_text(LOW_TRUST, encoding="utf-8")
    with wrapped(hub_url=hub.url, spool_dir=tmp_path / "spool", spool_max_bytes=10) as client:
        response = client.post(ROUTE, json=chat())
    assert (response.status_code, response.json()["error"]["code"]) == (503, "review_unavailable")
    assert upstream.exchanges == []


@pytest.mark.parametrize("stream", [False, True])
def test_an_audited_answer_is_recorded_with_its_text_and_propensity(
    wrapped: Wrapped, hub: Hub, tmp_path: Path, stream: bool
) -> None:
    with wrapped(hub_url=hub.url, spool_dir=tmp_path / "spool", audit_rate=1.0) as client:
        response = client.post(ROUTE, json=chat(stream=stream))
        (record,) = hub.wait_for(1, "reviews")
    assert '"review_id": null' in response.text
    assert (record["reviewed_because"], record["propensity"]) == ("audit", 1.0)
    assert record["response"] == ("Water boils." if stream else ANSWER)
    assert "[governance" not in json.dumps(record["messages"])


def test_a_stream_that_the_client_left_is_recorded_as_far_as_it_was_spoken(
    wrapped: Wrapped, hub: Hub, upstream: MockUpstream, tmp_path: Path
) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.head(200, "text/event-stream")
        await exchange.chunk(event("Water "))
        while not exchange.writer.transport.is_closing():
            await exchange.chunk(b": still here\n\n")
            await asyncio.sleep(0.01)

    upstream.reply = endless
    with wrapped(hub_url=hub.url, spool_dir=tmp_path / "spool", audit_rate=1.0) as client:
        with client.stream("POST", ROUTE, json=chat(stream=True)) as response:
            assert "Water" in next(response.iter_text())
        (record,) = hub.wait_for(1, "reviews")
    assert record["response"] == "Water"


def test_shadows_ask_for_no_review(
    hub: Hub, upstream: MockUpstream, other_upstream: MockUpstream, wrapped: Wrapped, tmp_path: Path
) -> None:
    path = tmp_path / "experiment.yaml"
    arms = f"a: {{weight: 1, upstream: '{upstream.url}'}}, c: {{shadow: true, upstream: '{other_upstream.url}'}}"
    path.write_text(f"name: x\narms: {{{arms}}}\n", encoding="utf-8")
    settings = {"upstream_url": None, "experiment_file": path, "audit_rate": 1.0}
    with wrapped(hub_url=hub.url, spool_dir=tmp_path / "spool", **settings) as client:
        client.post(ROUTE, json=chat())
        hub.wait_for(2, "outcomes")
    (record,) = hub.wait_for(1, "reviews")
    assert record["experiment"] == {"name": "x", "arm": "a"}
