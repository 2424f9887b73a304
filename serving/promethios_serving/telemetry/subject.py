"""Whom telemetry is about."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

MAX_NAME: Final = 128
"""Longest name of an agent or a session, in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A tenant, one of its agents and one of the agent's sessions; None where nothing is named."""

    tenant: str | None = None
    agent: str | None = None
    session: str | None = None

    def layers(self) -> tuple[Subject, ...]:
        """Return the subjects whose readings hold for this one, the most specific first: session, agent, tenant, all.

        A session is known by its tenant and its own name, whichever agent it is with.
        """
        layers = []
        if self.session is not None:
            layers.append(Subject(tenant=self.tenant, session=self.session))
        if self.agent is not None:
            layers.append(Subject(tenant=self.tenant, agent=self.agent))
        if self.tenant is not None:
            layers.append(Subject(tenant=self.tenant))
        return (*layers, EVERYBODY)

    def to_mapping(self) -> dict[str, str | None]:
        """Return plain data with the three names."""
        return asdict(self)


EVERYBODY: Final = Subject()
"""The subject of readings that hold for all requests."""
