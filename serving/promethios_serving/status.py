"""GET /v1/governance: what governs this server now. Ages and states of the telemetry, never its values."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from promethios.telemetry.state import CHANNELS, GovernanceState, stale_level
from promethios_serving.telemetry.source import TelemetrySource


async def governance_status(request: Request) -> JSONResponse:
    """Return the model's fingerprint, the default domain and the condition of the telemetry."""
    governance = request.app.state.promethios
    calibration = governance.governor.calibration
    return JSONResponse(
        {
            "weights_sha256": calibration.weights_sha256,
            "default_domain": governance.settings.default_domain,
            "telemetry": telemetry_status(governance.governor.source),
        }
    )


def telemetry_status(source: TelemetrySource) -> dict[str, Any]:
    """Return a source's condition: channel -> age in seconds (null when missing) and staleness, last error."""
    state = source.state()
    channels: dict[str, Any] = dict.fromkeys(channel.name for channel in CHANNELS)
    for channel, reading in state or GovernanceState():
        if reading is not None:
            channels[channel.name] = {"age_s": reading.age_s, "stale": stale_level(channel, reading) > 0}
    return {
        "source": source.name,
        "degraded": state is None or state.is_degraded(),
        "error": source.error,
        "channels": channels,
    }
