"""GET /v1/governance: what governs this server now. Ages and states of the telemetry, never its values."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse

from promethios.evaluation.certificate import Certificate
from promethios.evaluation.lineage import load_lineage, part_hashes
from promethios.telemetry.state import CHANNELS, GovernanceState, stale_level
from promethios_serving.telemetry.source import TelemetrySource

_SHOWN_LINEAGE: Final = ("promethios_version", "dataset_sha256", "evaluation_report_sha256", "gates_hold")


async def governance_status(request: Request) -> JSONResponse:
    """Return the model's fingerprint, certificate and domain probe, the default domain, the telemetry's condition."""
    governance = request.app.state.promethios
    return JSONResponse(
        {
            **governance.model_status,
            "default_domain": governance.settings.default_domain,
            "domain_probe_level": governance.governor.calibration.domain_probe_level,
            "telemetry": telemetry_status(governance.governor.source),
        }
    )


def model_status(folder: Path, name: str, certificate: Certificate, *, needs_lineage: bool = False) -> dict[str, Any]:
    """Return what is served. `certificate` is the folder's own, loaded and so checked.

    Raises ModelFolderError when the folder's lineage is about other weights, calibration or certificate, or needed and
    not there.
    """
    lineage = load_lineage(folder, certificate, required=needs_lineage)
    return {
        "model": name,
        **part_hashes(folder, certificate),
        "certificate": {
            "confidence": certificate.confidence,
            "default_threshold": certificate.default_threshold,
            "domains": {
                name: {"risk_limit": domain.risk_limit, "threshold": domain.threshold}
                for name, domain in certificate.domains.items()
            },
        },
        "lineage": None if lineage is None else {key: lineage.get(key) for key in _SHOWN_LINEAGE},
    }


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
