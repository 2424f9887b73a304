"""Experiments: which upstream answers whom. `assign` is a pure function, so every replica sends a session the same way.

name: native_against_gpt
arms:
  native: {weight: 1, upstream: "http://promethios-engine:8000/v1", native: true, key_env: ENGINE_KEY}
  gpt: {weight: 1, upstream: "https://api.openai.com/v1", model: gpt-4.1, key_env: OPENAI_API_KEY,
        input_usd_per_million: 2.0, output_usd_per_million: 8.0}
  candidate: {shadow: true, upstream: "http://candidate:8000/v1"}
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from promethios.errors import ConfigError
from promethios.ontology.section import Section, parse_yaml
from promethios_serving.shown_url import shown_url
from promethios_serving.wrapped.upstream import UpstreamAddress

_KEYS: Final = (
    "weight", "shadow", "native", "upstream", "model", "key_env", "input_usd_per_million", "output_usd_per_million",
)  # fmt: skip
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One side of an experiment.

    weight: its share of the units, in any unit; 0 for a shadow, which answers everything and is never shown.
    native: a Promethios engine, which governs itself. prices: US dollars for a million tokens in and out, or None.
    """

    name: str
    address: UpstreamAddress
    weight: float
    native: bool = False
    prices: tuple[float, float] | None = None

    @property
    def shadow(self) -> bool:
        """True for an arm whose answers nobody sees."""
        return self.weight == 0

    def public(self) -> dict[str, Any]:
        """Return what may be shown of it: everything but its secrets."""
        kind = "native" if self.native else "wrapped"
        place = {"url": shown_url(self.address.url), "model": self.address.model}
        return {"name": self.name, "kind": kind, "shadow": self.shadow, "weight": self.weight, **place}


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Arms among which requests are shared out."""

    name: str
    arms: tuple[Arm, ...]

    @property
    def shadows(self) -> tuple[Arm, ...]:
        """The arms that run after the answer."""
        return tuple(arm for arm in self.arms if arm.shadow)


def unit_of(tenant: str | None, session: str) -> str:
    """Return the unit of randomisation: a hash, so that whoever reads outcomes learns no session."""
    return hashlib.sha256(json.dumps([tenant, session]).encode()).hexdigest()


def assign(experiment: Experiment, unit: str) -> Arm:
    """Return a unit's arm. The experiment's name is the salt: another experiment shares the same units out anew."""
    digest = hashlib.sha256(f"{experiment.name}\0{unit}".encode()).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64 * sum(arm.weight for arm in experiment.arms)
    shown = [arm for arm in experiment.arms if not arm.shadow]
    for arm in shown:
        point -= arm.weight
        if point < 0:
            return arm
    return shown[-1]  # the weights' sum was rounded


def read_experiment(path: Path, environment: Mapping[str, str]) -> Experiment:
    """Read an experiment file; keys come from the environment variables that it names.

    Raises ConfigError naming the file, the key, the value and what is allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the experiment cannot be read: {error}") from None
    root = parse_yaml(text, str(path)).only("name", "arms")
    arms = tuple(_arm(name, section, environment) for name, section in root.sections("arms").items())
    if all(arm.shadow for arm in arms):
        root.fail("arms", [arm.name for arm in arms], "at least one arm that is no shadow")
    name = root.text("name")
    if not _NAME.fullmatch(name):
        root.fail("name", name, "up to 64 letters, digits, `.`, `_` and `-`, as in the hub")
    return Experiment(name=name, arms=arms)


def _arm(name: str, section: Section, environment: Mapping[str, str]) -> Arm:
    section.only(*_KEYS)
    url = section.text("upstream").rstrip("/")
    if not url.startswith(("http://", "https://")):
        section.fail("upstream", url, "an http:// or https:// URL, up to and with /v1")
    shadow = "shadow" in section and section.flag("shadow")
    if shadow and "weight" in section:
        section.fail("weight", "beside shadow", "one of weight and shadow")
    weight = 0.0 if shadow else section.number("weight")
    if weight == 0 and not shadow:
        section.fail("weight", weight, "a number above 0, or `shadow: true`")
    priced = [key for key in ("input_usd_per_million", "output_usd_per_million") if key in section]
    return Arm(
        name=name,
        address=UpstreamAddress(url, section.text("model") if "model" in section else None, _key(section, environment)),
        weight=weight,
        native="native" in section and section.flag("native"),
        prices=(section.number("input_usd_per_million"), section.number("output_usd_per_million")) if priced else None,
    )


def _key(section: Section, environment: Mapping[str, str]) -> str | None:
    if "key_env" not in section:
        return None
    variable = section.text("key_env")
    if not environment.get(variable):
        section.fail("key_env", variable, "the name of an environment variable that is set")
    return environment[variable]
