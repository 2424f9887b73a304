"""/v1/reviews: engines hand over, reviewers settle, users wait for the reply."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Request

from promethios_hub import metrics
from promethios_hub.api.callers import Engine, Reviewer, User, require_tenant
from promethios_hub.records import Decide, Reviews, Versioned
from promethios_hub.refusals import not_found
from promethios_hub.reviews import Decision, ReviewStore, StoredReview

router = APIRouter(prefix="/v1/reviews", tags=["reviews"])
ReviewId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.:-]{1,80}$")]
Text = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]
_POLL_S: Final = 0.5


@router.post("")
async def add_reviews(body: Reviews, request: Request, caller: Engine) -> dict[str, int]:
    """Take in a batch, all of it or nothing. Repeating a batch changes nothing."""
    rows = [record.row(redact=request.app.state.hub.settings.redact) for record in body.reviews]
    for row in rows:
        require_tenant(caller, row["tenant"])
    added = await _store(request).add(rows)
    for row in {row["id"]: row for row in rows if row["id"] in added.new}.values():
        metrics.REVIEWS.labels(domain=row["domain"] or "none", reason=row["reviewed_because"]).inc()
    return {"accepted": len(added.new), "merged": added.merged}


@router.get("")
async def list_reviews(
    request: Request,
    caller: Reviewer,
    state: Literal["waiting", "assigned", "open", "done"] = "open",
    domain: Text | None = None,
    q: Text = "",
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """List reviews in the order of their arrival, settled ones newest first. `q`: words of the user's last message."""
    states = ("waiting", "assigned") if state == "open" else (state,)
    page = await _store(request).page(
        states=states,  # type: ignore[arg-type]
        domain=domain,
        tenant=caller.tenant,
        query=q,
        after=after,
        limit=limit,
    )
    return {"data": [asdict(item) for item in page.items], "next": page.next}


@router.get("/{review_id}")
async def show_review(review_id: ReviewId, request: Request, caller: Reviewer) -> dict[str, Any]:
    """Return one review with everything that is known of it."""
    return asdict(await visible_review(_store(request), review_id, caller.tenant))


@router.get("/{review_id}/reply")
async def reply(
    review_id: ReviewId, request: Request, caller: User, wait_s: Annotated[float, Query(ge=0, le=30)] = 0
) -> dict[str, Any]:
    """Return the person's reply; waits up to `wait_s` seconds for it. Until then `decision` and `response` are null.

    Only what was handed to a person has one: for an answer that was drawn for audit, there is no review here.
    """
    deadline = time.monotonic() + wait_s
    while True:
        found = await _store(request).reply(review_id, caller.tenant)
        if found.state == "done" or time.monotonic() >= deadline or await request.is_disconnected():
            break
        await asyncio.sleep(min(_POLL_S, max(0.0, deadline - time.monotonic())))
    return asdict(found)


@router.post("/{review_id}/assign")
async def assign(review_id: ReviewId, body: Versioned, request: Request, caller: Reviewer) -> dict[str, Any]:
    """Take a review: others see who works on it."""
    await visible_review(_store(request), review_id, caller.tenant)
    return asdict(await _store(request).assign(review_id, str(caller.key_id), body.version))


@router.post("/{review_id}/release")
async def release(review_id: ReviewId, body: Versioned, request: Request, caller: Reviewer) -> dict[str, Any]:
    """Put a review back into the queue."""
    await visible_review(_store(request), review_id, caller.tenant)
    return asdict(await _store(request).release(review_id, str(caller.key_id), body.version))


@router.post("/{review_id}/decide")
async def decide(review_id: ReviewId, body: Decide, request: Request, caller: Reviewer) -> dict[str, Any]:
    """Settle a review. approve: decision and response stay; edit: another response; override: another decision;
    reject: the response is wrong and there is none instead.
    """
    await visible_review(_store(request), review_id, caller.tenant)
    decision = Decision(action=body.action, decision=body.decision, response=body.response)
    return asdict(await settle(_store(request), review_id, decision, str(caller.key_id), body.version))


async def settle(store: ReviewStore, review_id: str, decision: Decision, reviewer: str, version: int) -> StoredReview:
    """Settle a review and count it; the API and the console both come here."""
    review = await store.decide(review_id, decision, reviewer, version)
    metrics.DECISIONS.labels(action=decision.action).inc()
    if review.decided_at is not None:
        metrics.REVIEW_SECONDS.observe((review.decided_at - review.arrived_at).total_seconds())
    return review


async def visible_review(store: ReviewStore, review_id: str, tenant: str | None) -> StoredReview:
    """Return a review that a caller of this tenant may see. Raises RequestRefused (404, also for another tenant's)."""
    review = await store.get(review_id)
    if tenant is not None and review.tenant != tenant:
        raise not_found(f"there is no review {review_id!r}")
    return review


def _store(request: Request) -> ReviewStore:
    store: ReviewStore = request.app.state.hub.reviews
    return store
