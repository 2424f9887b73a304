"""Experiments and the outcomes that gateways report, in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from promethios_hub.refusals import conflict, not_found
from promethios_hub.tables import experiments, outcomes


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """An experiment: its arms, the one that the others are compared with, and the error that it allows itself."""

    name: str
    description: str
    control: str
    arms: Sequence[str]
    alpha: float
    created_at: datetime
    stopped_at: datetime | None


class ExperimentStore:
    """The experiments in the database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(
        self, *, name: str, description: str, control: str, arms: Sequence[str], alpha: float
    ) -> Experiment:
        """Keep a new experiment. Raises RequestRefused (409) when the name is taken."""
        row = {"description": description, "control": control, "arms": list(arms), "alpha": alpha}
        try:
            async with self._engine.begin() as connection:
                await connection.execute(experiments.insert().values(name=name, created_at=datetime.now(UTC), **row))
        except IntegrityError:
            raise conflict(f"there is an experiment {name!r} already; choose another name") from None
        return await self.get(name)

    async def list(self) -> list[Experiment]:
        """Return all experiments, the newest first."""
        async with self._engine.connect() as connection:
            found = await connection.execute(select(experiments).order_by(experiments.c.created_at.desc()))
        return [Experiment(**row._mapping) for row in found]

    async def get(self, name: str) -> Experiment:
        """Return an experiment. Raises RequestRefused (404)."""
        async with self._engine.connect() as connection:
            found = await connection.execute(select(experiments).where(experiments.c.name == name))
        row = found.one_or_none()
        if row is None:
            raise not_found(f"there is no experiment {name!r}")
        return Experiment(**row._mapping)

    async def stop(self, name: str) -> Experiment:
        """Say that an experiment is over: later outcomes are kept and do not count. Raises RequestRefused (404)."""
        running = (experiments.c.name == name) & experiments.c.stopped_at.is_(None)
        async with self._engine.begin() as connection:
            await connection.execute(update(experiments).where(running).values(stopped_at=datetime.now(UTC)))
        return await self.get(name)

    async def add_outcomes(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Keep outcomes, all or none; returns how many. A known one stays as it is.

        Outcomes of an experiment that is not created yet are kept, too: they count once it is.
        """
        unique = {(row["id"], row["arm"]): row for row in rows}
        insert = (postgresql if self._engine.dialect.name == "postgresql" else sqlite).insert(outcomes)
        new_ones = insert.on_conflict_do_nothing(index_elements=["id", "arm"])
        async with self._engine.begin() as connection:
            # in one order, so that two batches with the same outcomes do not wait for each other for ever
            await connection.execute(new_ones, [unique[key] for key in sorted(unique)])
        return len(rows)

    async def resolve(self, decision_id: str, *, resolved: bool, tenant: str | None) -> None:
        """Take down whether an answer resolved the matter; saying it again, or otherwise, replaces what was said.

        tenant: whose answer it has to be; None for anybody's. Shadow arms are left out: nobody saw their answers.
        Raises RequestRefused (404, also for another tenant's).
        """
        shown = (outcomes.c.id == decision_id) & outcomes.c.shadow.is_(False)
        if tenant is not None:
            shown &= outcomes.c.tenant == tenant
        async with self._engine.begin() as connection:
            found = await connection.execute(update(outcomes).where(shown).values(resolved=resolved))
        if found.rowcount == 0:
            raise not_found(
                f"there is no outcome {decision_id!r}: only answers of an experiment have one, and it arrives some"
                " seconds after the answer; if yours is one, try again"
            )
