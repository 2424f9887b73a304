"""The wrapper's settings: environment variables PROMETHIOS_*, read once into a frozen object.

serving/README.md lists them; a test keeps that list and this class equal.
"""

from __future__ import annotations

import difflib
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

from promethios.errors import ConfigError
from promethios.ontology.governance_ontology import load_ontology

PREFIX: Final = "PROMETHIOS_"

Expose = Literal["full", "decision", "none", "scores"]
OnGateFailure = Literal["refuse", "escalate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator may choose; each field is the variable PROMETHIOS_<FIELD>."""

    access_file: Path | None = None
    """YAML file with tenants and API keys; without it everybody may generate."""
    audit_log: Path | None = None
    """File that every decision is written to, chained by hashes; a decision that cannot be written is refused."""
    default_domain: str | None = None
    """Domain of a request that names none."""
    expose: Expose = "full"
    """How much of the decision a client sees; `scores` adds raw scores and is meant for tests."""
    require_lineage: bool = False
    """Whether a model folder without lineage.json, which was never exported, is refused."""
    on_gate_failure: OnGateFailure = "refuse"
    """What happens when the gate cannot be computed: HTTP 503, or an escalation."""
    self_questions: int = 0
    """Largest number of hidden rounds in which an uncertain model asks itself, 0 to 2."""
    telemetry_file: Path | None = None
    """YAML or JSON file with live telemetry, re-read when it changes."""
    telemetry_url: str | None = None
    """HTTP URL of a JSON document with live telemetry, fetched in the background."""
    telemetry_interval_s: float = 5.0
    """Seconds between two fetches of the URL, and between two updates of the age gauges."""
    telemetry_timeout_s: float = 2.0
    """Longest wait for the URL, in seconds."""
    telemetry_prometheus: Path | None = None
    """YAML file with a Prometheus URL and one PromQL query a channel."""
    telemetry_jwt_keys: Path | None = None
    """JWK set of the keys that sign the header x-promethios-telemetry; without it nobody's is taken."""
    telemetry_key: str | None = None
    """Secret that lets a caller send telemetry with a request; without it nobody may."""
    max_header_bytes: int = 64 * 1024
    """Largest accepted headers of a request, in bytes."""
    header_timeout_s: float = 10.0
    """Longest time in which a client may send its request's headers, in seconds."""
    max_body_bytes: int = 4 * 1024 * 1024
    """Largest accepted request body, in bytes."""
    body_timeout_s: float = 30.0
    """Longest time in which a client may send its request's body, in seconds."""
    request_timeout_s: float = 600.0
    """Longest time for an answer, in seconds; openai-python waits as long."""
    hub_url: str | None = None
    """URL of the hub: takes reviews and gives live telemetry; without it there are no reviews."""
    hub_key: str | None = None
    """API key for the hub, of scope engine."""
    spool_dir: Path = Path("spool")
    """Folder where reviews wait until the hub has them; should outlive the process."""
    spool_max_bytes: int = 256 * 1024 * 1024
    """Largest size of what waits, in bytes; beyond it escalations are refused."""
    audit_rate: float = 0.02
    """Share of the answers without escalation that people look at, drawn at random."""
    drain_file: Path = Path(tempfile.gettempdir(), f"promethios-{os.getuid()}.drain")
    """While this file exists the server drains; `python -m promethios_serving.drain` makes it."""
    upstream_url: str | None = None
    """Wrapped mode: URL of an OpenAI-compatible server, up to and with /v1."""
    upstream_model: str | None = None
    """Wrapped mode: model to ask the upstream for, whatever the client names."""
    upstream_key: str | None = None
    """Wrapped mode: API key for the upstream."""
    upstream_timeout_s: float = 120.0
    """Wrapped mode: longest silence of the upstream, in seconds."""
    self_check: bool = False
    """Wrapped mode: ask the upstream for a verdict first, at the price of a second call."""
    experiment_file: Path | None = None
    """Wrapped mode: YAML file that shares requests out among upstreams; excludes the upstream's own settings."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the settings. Raises ConfigError naming the variable, its value and what is allowed."""
        names = {PREFIX + field.name.upper(): field.name for field in fields(cls)}
        _refuse_misspelt(environment, names)
        given = {name: environment[variable] for variable, name in names.items() if environment.get(variable)}
        settings = cls(**{name: _PARSERS[name](PREFIX + name.upper(), text) for name, text in given.items()})
        _refuse_two(settings, ("telemetry_file", "telemetry_url", "telemetry_prometheus"))
        if settings.access_file and settings.telemetry_key:
            raise ConfigError(
                "PROMETHIOS_ACCESS_FILE and PROMETHIOS_TELEMETRY_KEY are both set; with an access file the keys that "
                "may send telemetry have the scope `telemetry`: unset PROMETHIOS_TELEMETRY_KEY"
            )
        return settings


def _refuse_two(settings: Settings, names: tuple[str, ...]) -> None:
    """Refuse settings that exclude each other."""
    given = [PREFIX + name.upper() for name in names if getattr(settings, name)]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} are both set; set one")


def _refuse_misspelt(environment: Mapping[str, str], names: Mapping[str, str]) -> None:
    """Refuse a variable that is nearly one of ours; others may be somebody else's (Kubernetes adds service links)."""
    for variable in environment:
        if not variable.startswith(PREFIX) or variable in names:
            continue
        close = difflib.get_close_matches(variable, names, n=1, cutoff=0.9)
        if close:
            raise ConfigError(f"there is no setting {variable}; did you mean {close[0]}?")


def _text(variable: str, text: str) -> str:
    return text


def _path(variable: str, text: str) -> Path:
    return Path(text)


def _domain(variable: str, text: str) -> str:
    try:
        load_ontology().domain(text)
    except ConfigError as error:
        raise ConfigError(f"{variable}: {error}") from None
    return text


def _expose(variable: str, text: str) -> Any:
    return _one_of(variable, text, get_args(Expose))


def _on_gate_failure(variable: str, text: str) -> Any:
    return _one_of(variable, text, get_args(OnGateFailure))


def _one_of(variable: str, text: str, allowed: tuple[str, ...]) -> str:
    if text not in allowed:
        raise ConfigError(f"{variable}={text!r} is not allowed; one of {', '.join(allowed)}")
    return text


def _url(variable: str, text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ConfigError(f"{variable}={text!r} is not allowed; an http:// or https:// URL")
    return text


def _switch(variable: str, text: str) -> bool:
    return _one_of(variable, text, ("0", "1")) == "1"


def _seconds(variable: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigError(f"{variable}={text!r} is not allowed; a number of seconds above 0")
    return seconds


def _share(variable: str, text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise ConfigError(f"{variable}={text!r} is not allowed; a share from 0 to 1")
    return share


def _rounds(variable: str, text: str) -> int:
    return int(_one_of(variable, text, ("0", "1", "2")))


def _count(variable: str, text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ConfigError(f"{variable}={text!r} is not allowed; a whole number above 0")
    return int(text)


_PARSERS: Final = {
    "access_file": _path,
    "audit_log": _path,
    "default_domain": _domain,
    "expose": _expose,
    "require_lineage": _switch,
    "on_gate_failure": _on_gate_failure,
    "self_questions": _rounds,
    "telemetry_file": _path,
    "telemetry_url": _url,
    "telemetry_interval_s": _seconds,
    "telemetry_timeout_s": _seconds,
    "telemetry_prometheus": _path,
    "telemetry_jwt_keys": _path,
    "telemetry_key": _text,
    "max_header_bytes": _count,
    "header_timeout_s": _seconds,
    "max_body_bytes": _count,
    "body_timeout_s": _seconds,
    "request_timeout_s": _seconds,
    "hub_url": _url,
    "hub_key": _text,
    "spool_dir": _path,
    "spool_max_bytes": _count,
    "audit_rate": _share,
    "drain_file": _path,
    "upstream_url": _url,
    "upstream_model": _text,
    "upstream_key": _text,
    "upstream_timeout_s": _seconds,
    "self_check": _switch,
    "experiment_file": _path,
}
