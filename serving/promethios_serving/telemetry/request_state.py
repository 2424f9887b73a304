"""The telemetry of one request: what its trusted caller sent, and the live readings for the other channels."""

from __future__ import annotations

from promethios.telemetry.state import GovernanceState
from promethios_serving.request_context import GovernedRequest
from promethios_serving.telemetry.source import TelemetrySource


def governance_state(request: GovernedRequest, source: TelemetrySource) -> GovernanceState | None:
    """Return the telemetry of a request; None when there is none at all."""
    live, own = source.state(request.subject), request.telemetry
    if live is None or own is None:
        return live if own is None else own
    readings = {channel.name: reading for channel, reading in live if reading is not None}
    readings |= {channel.name: reading for channel, reading in own if reading is not None}
    return GovernanceState(**readings)
