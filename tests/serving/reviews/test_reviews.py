from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from prometheus_client import REGISTRY

from promethios_serving.openai_errors import RequestRefused
from promethios_serving.request_context import GovernedRequest
from promethios_serving.reviews.reviews import Reviews
from promethios_serving.reviews.spool import Spool
from tests.serving.reviews.test_review_record import MODEL, STATE, decided


def waiting(spool: Spool) -> list[dict[str, Any]]:
    return [json.loads(file.read_bytes()) for file in spool.oldest("reviews", 10_000, 10**9)]


def reviews(spool: Spool, audit_rate: float = 0.0) -> Reviews:
    return Reviews(spool, engine="engine-0", model=MODEL, audit_rate=audit_rate)


def piece(text: str, index: int = 0) -> SimpleNamespace:
    return SimpleNamespace(index=index, text=text)


def test_an_escalation_is_on_disk_before_it_speaks_and_its_answer_follows(spool: Spool) -> None:
    request = decided()

    async def run() -> None:
        review = await reviews(spool).open(request, STATE)
        assert review is not None
        assert [record["response"] for record in waiting(spool)] == [None]
        assert request.review_id == request.id
        review.hear([piece("A person ")], delta=True)
        review.hear([piece("looks at it.")], delta=True)
        await review.aclose()

    asyncio.run(run())
    assert [(record["id"], record["response"]) for record in waiting(spool)] == [
        (request.id, None),
        (request.id, "A person looks at it."),
    ]
    assert {(record["reviewed_because"], record["propensity"]) for record in waiting(spool)} == {("escalated", 1.0)}


def test_outputs_that_hold_the_whole_answer_are_not_added_up(spool: Spool) -> None:
    async def run() -> None:
        review = await reviews(spool).open(decided(), STATE)
        assert review is not None
        review.hear([piece("A"), piece("B", 1)], delta=False)
        review.hear([piece("A per"), piece("B person", 1)], delta=False)
        await review.aclose()

    asyncio.run(run())
    assert waiting(spool)[-1]["response"] == "A per\n\nB person"


def test_the_answer_of_a_client_that_left_is_kept_although_its_task_is_cancelled_at_every_await(spool: Spool) -> None:
    async def run() -> None:
        review = await reviews(spool).open(decided(), STATE)
        assert review is not None
        review.hear([piece("A person looks")], delta=True)
        with anyio.CancelScope() as scope:  # as Starlette's for a streamed response
            scope.cancel()
            await review.aclose()
        async with asyncio.timeout(20):
            while len(waiting(spool)) < 2:
                await asyncio.sleep(0.01)

    asyncio.run(run())
    assert waiting(spool)[-1]["response"] == "A person looks"


def test_an_escalation_that_was_cut_before_a_word_leaves_the_first_record_only(spool: Spool) -> None:
    async def run() -> None:
        review = await reviews(spool).open(decided(), STATE)
        assert review is not None
        await review.aclose()

    asyncio.run(run())
    assert len(waiting(spool)) == 1


def test_about_the_set_share_of_answers_is_audited_and_the_client_does_not_learn_of_it(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = iter([0.019, 0.02, 0.5, 0.0])
    monkeypatch.setattr("random.random", lambda: next(draws))
    chooser = reviews(spool, 0.02)
    requests = [decided(decision=decision) for decision in ("answer", "caveat", "answer", "clarify")]

    async def run() -> list[bool]:
        audited = []
        for request in requests:
            review = await chooser.open(request, STATE)
            audited.append(review is not None)
            if review is not None:
                assert waiting(spool)[-1:] == [] or waiting(spool)[-1]["id"] != request.id
                review.hear([piece("Two tablets.")], delta=False)
                await review.aclose()
        return audited

    assert asyncio.run(run()) == [True, False, False, True]
    assert [(record["reviewed_because"], record["propensity"], record["response"]) for record in waiting(spool)] == [
        ("audit", 0.02, "Two tablets.")
    ] * 2
    assert [request.review_id for request in requests] == [None] * 4


@pytest.mark.parametrize("request_", [decided(counted=False), GovernedRequest(route="r")], ids=["warm-up", "refused"])
def test_what_is_no_decided_request_of_a_client_is_not_reviewed(spool: Spool, request_: GovernedRequest) -> None:
    assert asyncio.run(reviews(spool, 1.0).open(request_, STATE)) is None


def test_with_a_full_spool_an_escalation_is_refused_and_an_audit_dropped_and_both_are_counted(spool: Spool) -> None:
    spool.max_bytes = 10
    before = REGISTRY.get_sample_value("promethios_hub_errors_total", {"reason": "spool"}) or 0.0

    async def run() -> None:
        with pytest.raises(RequestRefused) as refused:
            await reviews(spool).open(decided(), STATE)
        assert (refused.value.status, refused.value.reason) == (503, "review_unavailable")
        audit = await reviews(spool, 1.0).open(decided(decision="answer"), STATE)
        assert audit is not None
        audit.hear([piece("Two tablets.")], delta=False)
        await audit.aclose()

    asyncio.run(run())
    assert waiting(spool) == []
    assert REGISTRY.get_sample_value("promethios_hub_errors_total", {"reason": "spool"}) == before + 2
