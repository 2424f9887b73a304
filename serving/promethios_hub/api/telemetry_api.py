"""/v1/telemetry: intake from those who measure, and what engines fetch."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field

from promethios.errors import TelemetryError, nearest
from promethios.telemetry.document import document_from_plain
from promethios.telemetry.state import CHANNEL_BY_NAME
from promethios_hub import metrics
from promethios_hub.api.callers import Engine, TelemetrySender, require_tenant
from promethios_hub.records import Strict, Subject
from promethios_hub.refusals import bad_request
from promethios_hub.telemetry import Reading, TelemetryStore

router = APIRouter(prefix="/v1/telemetry", tags=["telemetry"])


class Telemetry(Strict):
    """Readings about a subject. `telemetry` is a document as serving/README.md describes it."""

    subject: Subject = Subject()
    telemetry: dict[str, Any]


class Withdrawal(Subject):
    """Whose readings are withdrawn. channel: which of them; without any, all."""

    channel: list[str] = Field(default=[], max_length=len(CHANNEL_BY_NAME))


@router.post("")
async def write(body: Telemetry, request: Request, caller: TelemetrySender) -> dict[str, int]:
    """Take in readings. A key with a tenant writes about its own tenant; without a subject, about all of it."""
    tenant = body.subject.tenant or caller.tenant
    require_tenant(caller, tenant)
    now = time.time()
    try:
        document = document_from_plain(body.telemetry, now)
    except TelemetryError as error:
        raise bad_request(str(error), "telemetry") from None
    readings = [
        Reading(channel.name, reading.value, datetime.fromtimestamp(round(now - reading.age_s, 3), UTC))
        for channel, reading in document.state_at(now)
        if reading is not None
    ]
    if not readings:
        raise bad_request("`telemetry` holds no reading; send at least one channel", "telemetry")
    subject = {**body.subject.model_dump(), "tenant": tenant}
    written = await _store(request).write(subject, readings)
    metrics.TELEMETRY_WRITES.inc(written)
    return {"written": written}


@router.delete("")
async def withdraw(
    request: Request,
    caller: TelemetrySender,
    of: Annotated[Withdrawal, Query()],
) -> dict[str, int]:
    """Take back what was said of a subject, in one channel or in all: what is known of its agent or tenant holds again.

    A key with a tenant withdraws of its own tenant; without a subject, what was said of all of it.
    """
    tenant = of.tenant or caller.tenant
    require_tenant(caller, tenant)
    for name in of.channel:
        if name not in CHANNEL_BY_NAME:
            raise bad_request(f"{name!r} is no channel{nearest(name, CHANNEL_BY_NAME)}", "channel")
    subject = {"tenant": tenant, "agent": of.agent, "session": of.session}
    return {"withdrawn": await _store(request).withdraw(subject, of.channel)}


@router.get("")
async def changes(request: Request, caller: Engine, after: Annotated[int, Query(ge=0, le=2**62)] = 0) -> dict[str, Any]:
    """Return the subjects whose telemetry changed since `after` (0: all), and the `after` of the next call."""
    cursor, data = await _store(request).changes(after, caller.tenant)
    return {"next": cursor, "data": data}


def _store(request: Request) -> TelemetryStore:
    store: TelemetryStore = request.app.state.hub.telemetry
    return store
