"""The hub's settings: environment variables PROMETHIOS_HUB_*, read once. README.md lists them; a test compares."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from promethios.errors import ConfigError

PREFIX: Final = "PROMETHIOS_HUB_"
_ENGINES_OWN: Final = {"PROMETHIOS_HUB_URL", "PROMETHIOS_HUB_KEY"}
"""Settings of an engine, which tell it where its hub is."""
_TRUE: Final = {"1": True, "true": True, "0": False, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSettings:
    """What an operator may choose; each field is the variable PROMETHIOS_HUB_<FIELD>."""

    database_url: str = "sqlite:///promethios-hub.db"
    """PostgreSQL (postgresql://user:password@host/name) or an SQLite file."""
    access_file: Path | None = None
    """YAML file with tenants and API keys, the engines' own; without it the hub takes everybody for its administrator
    and listens on this machine only."""
    session_secret: str | None = None
    """Signs the console's cookies; without it they end with the process. All replicas need the same."""
    webhook_url: str | None = None
    """Told of every settled review with a POST."""
    webhook_secret: str | None = None
    """Signs what is told (Standard Webhooks): `whsec_` and base64."""
    retention_days: int = 0
    """Days after which a settled review loses its conversation and texts; 0 keeps them."""
    redact: bool = False
    """Replace e-mail addresses, cards, IBANs, telephone numbers and IP addresses where reviews arrive."""
    max_body_bytes: int = 32 * 1024 * 1024
    """Largest accepted request body, in bytes."""
    body_timeout_s: float = 30.0
    """Seconds in which a request body has to arrive."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> HubSettings:
        """Read the settings. Raises ConfigError naming the variable, its value and what is allowed."""
        names = {PREFIX + field.name.upper(): field.name for field in fields(cls)}
        for variable in environment:
            if variable.startswith(PREFIX) and variable not in names and variable not in _ENGINES_OWN:
                # Kubernetes adds variables of services (PROMETHIOS_HUB_PORT_8080_TCP): only near misses are ours.
                close = difflib.get_close_matches(variable, names, n=1, cutoff=0.9)
                if close:
                    raise ConfigError(f"there is no setting {variable}; did you mean {close[0]}?")
        given = {name: environment[variable] for variable, name in names.items() if environment.get(variable)}
        settings = cls(**{name: _parsed(PREFIX + name.upper(), name, text) for name, text in given.items()})  # type: ignore[arg-type]
        if settings.webhook_secret and not settings.webhook_url:
            raise ConfigError("PROMETHIOS_HUB_WEBHOOK_SECRET is set and PROMETHIOS_HUB_WEBHOOK_URL is not; set both")
        return settings


def _parsed(variable: str, name: str, text: str) -> object:
    if name == "access_file":
        return Path(text)
    if name in ("retention_days", "max_body_bytes"):
        if not text.isdecimal():
            raise ConfigError(f"{variable}={text!r} is not allowed; a whole number, 0 or more")
        return int(text)
    if name == "body_timeout_s":
        return _seconds(variable, text)
    if name == "redact":
        if text.lower() not in _TRUE:
            raise ConfigError(f"{variable}={text!r} is not allowed; 0 or 1")
        return _TRUE[text.lower()]
    if name == "webhook_url" and not text.startswith(("http://", "https://")):
        raise ConfigError(f"{variable}={text!r} is not allowed; an http:// or https:// URL")
    return text


def _seconds(variable: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigError(f"{variable}={text!r} is not allowed; a number of seconds above 0")
    return seconds
