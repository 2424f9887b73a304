"""Which source of live telemetry the settings name."""

from __future__ import annotations

from promethios_serving.settings import Settings
from promethios_serving.telemetry.file import FileTelemetry
from promethios_serving.telemetry.hub import HubTelemetry
from promethios_serving.telemetry.prometheus import PrometheusTelemetry
from promethios_serving.telemetry.signed import SignedTelemetry
from promethios_serving.telemetry.source import NoTelemetry, TelemetrySource
from promethios_serving.telemetry.url import UrlTelemetry


def telemetry_source(settings: Settings) -> TelemetrySource:
    """Return the source that the settings name. Raises TelemetryError for a file that cannot be read."""
    source = _general_source(settings)
    if settings.hub_url is None:
        return source
    return HubTelemetry(settings.hub_url, settings.hub_key, settings.telemetry_timeout_s, source)


def signed_telemetry(settings: Settings) -> SignedTelemetry | None:
    """Return what checks signed telemetry; None without keys. Raises ConfigError for keys that cannot be used."""
    return SignedTelemetry(settings.telemetry_jwt_keys) if settings.telemetry_jwt_keys else None


def _general_source(settings: Settings) -> TelemetrySource:
    if settings.telemetry_file:
        return FileTelemetry(settings.telemetry_file)
    if settings.telemetry_url:
        return UrlTelemetry(settings.telemetry_url, settings.telemetry_timeout_s)
    if settings.telemetry_prometheus:
        return PrometheusTelemetry(settings.telemetry_prometheus, settings.telemetry_timeout_s)
    return NoTelemetry()
