"""/v1/feedback: what reviewers did, for training."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from promethios_hub.api.callers import Admin
from promethios_hub.feedback import feedback_records

router = APIRouter(prefix="/v1/feedback", tags=["feedback"])


@router.get("/records", response_class=StreamingResponse)
async def records(
    request: Request,
    caller: Admin,
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    limit: Annotated[int, Query(ge=1, le=1_000_000)] = 1_000_000,
) -> StreamingResponse:
    """Return settled reviews as JSON lines, the input of `promethios feedback export`; a tenant's key gets its own."""
    lines = feedback_records(request.app.state.hub.database, after, limit, caller.tenant)
    return StreamingResponse(lines, media_type="application/x-ndjson")
