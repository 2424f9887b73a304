from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from promethios_serving.engine_hook import EngineTypes, GovernedEngine
from promethios_serving.governor import Governor
from promethios_serving.openai_errors import RequestRefused
from promethios_serving.request_context import CURRENT, GovernedRequest
from promethios_serving.reviews.reviews import Reviews
from promethios_serving.reviews.spool import Spool
from tests.serving.conftest import sampling
from tests.serving.reviews.test_review_record import MODEL

ESCALATES = (0.0, 0.0, 0.0, 9.0, *[0.5] * 14)


def waiting(spool: Spool) -> list[dict[str, Any]]:
    return [json.loads(file.read_bytes()) for file in spool.oldest("reviews", 100, 10**9)]


def hook(engine: Any, governor: Governor, spool: Spool) -> GovernedEngine:
    engine.scores = ESCALATES
    types = EngineTypes(gate_sampling="GATE", failures=(), refusal=lambda refusal: refusal)
    reviews = Reviews(spool, engine="engine-0", model=MODEL, audit_rate=0.0)
    return GovernedEngine(
        engine.generate, governor, types, max_model_len=100, on_gate_failure="refuse", model=MODEL, reviews=reviews
    )


async def spoken(governed: GovernedEngine, request: GovernedRequest, output_kind: str, stop_after: int = 99) -> None:
    CURRENT.set(request)
    outputs = governed.generate(
        {"type": "token", "prompt_token_ids": [1000]}, sampling(output_kind=output_kind), "req-1"
    )
    number = 0
    async for _ in outputs:
        number += 1
        if number == stop_after:
            break
    await outputs.aclose()


@pytest.mark.parametrize(
    ("output_kind", "texts"),
    [("RequestOutputKind.DELTA", ("A per", "son.")), ("RequestOutputKind.FINAL_ONLY", ("A person.",))],
)
def test_the_review_is_safe_before_the_model_speaks_and_holds_what_it_said(
    engine: Any, governor: Governor, spool: Spool, output_kind: str, texts: tuple[str, ...]
) -> None:
    engine.texts = texts
    governed, request = hook(engine, governor, spool), GovernedRequest(route="/v1/chat/completions")
    seen_when_called: list[int] = []
    generate = engine.generate

    def watched(*args: Any, **kwargs: Any) -> Any:
        seen_when_called.append(len(waiting(spool)))
        return generate(*args, **kwargs)

    governed._generate = watched
    asyncio.run(spoken(governed, request, output_kind))
    assert seen_when_called == [0, 1], "no record at the gate, one when the model begins to speak"
    assert [record["response"] for record in waiting(spool)] == [None, "A person."]
    assert {record["id"] for record in waiting(spool)} == {request.id} == {request.review_id}
    assert sum(waiting(spool)[0]["uncertainty"].values()) == pytest.approx(6 * 0.6225)


def test_when_the_client_goes_away_the_review_holds_what_it_had_read(
    engine: Any, governor: Governor, spool: Spool
) -> None:
    engine.texts = ("A per", "son", " looks.")
    governed = hook(engine, governor, spool)
    asyncio.run(spoken(governed, GovernedRequest(route="r"), "DELTA", stop_after=2))
    assert waiting(spool)[-1]["response"] == "A person"


def test_without_a_safe_review_an_escalation_is_refused_and_the_model_does_not_speak(
    engine: Any, governor: Governor, spool: Spool
) -> None:
    governed, request = hook(engine, governor, spool), GovernedRequest(route="r")
    spool.max_bytes = 10
    with pytest.raises(RequestRefused, match="review"):
        asyncio.run(spoken(governed, request, "DELTA"))
    assert len(engine.calls) == 1
    assert request.refusal is not None
    assert request.refusal.reason == "review_unavailable"
