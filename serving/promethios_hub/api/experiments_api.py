"""/v1/experiments and /v1/outcomes: arms side by side, what they did, what came of it, and what that shows so far."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import Field, model_validator

from promethios_hub.api.callers import Admin, Engine, User, require_tenant
from promethios_hub.experiments.report import experiment_report, plain
from promethios_hub.experiments.store import ExperimentStore
from promethios_hub.records import DecisionName, FromEngine, Id, Strict, Time
from promethios_hub.records import Name as TenantName

router = APIRouter(prefix="/v1", tags=["experiments"])
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Name = Annotated[str, Field(pattern=_NAME)]
DecisionId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.:-]{1,80}$")]
PathName = Annotated[str, Path(pattern=_NAME)]
Amount = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class NewExperiment(Strict):
    """An experiment. control: the arm that the others are compared with. alpha: one minus the confidence level."""

    name: Name
    description: Annotated[str, Field(max_length=2000)] = ""
    control: Name
    arms: Annotated[list[Name], Field(min_length=2, max_length=8)]
    alpha: Annotated[float, Field(ge=0.001, le=0.2)] = 0.05

    @model_validator(mode="after")
    def _arms_hold_the_control(self) -> NewExperiment:
        if self.control not in self.arms:
            raise ValueError(f"control {self.control!r} is not among the arms {', '.join(self.arms)}")
        if len(set(self.arms)) < len(self.arms):
            raise ValueError(f"an arm stands twice in {', '.join(self.arms)}")
        return self


class Outcome(FromEngine):
    """What one arm did with one request. unit: hash of tenant and session. Null is what nobody knows."""

    id: Id
    experiment: Name
    arm: Name
    unit: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    shadow: bool
    time: Time
    tenant: TenantName | None = None
    decision: DecisionName
    latency_s: Amount
    first_token_s: Amount | None = None
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    cost_usd: Amount | None = None
    error: Annotated[str, Field(max_length=200)] | None = None


class Resolved(Strict):
    """What came of an answer: true when it resolved the matter that the user came with."""

    resolved: bool


class Outcomes(Strict):
    """A batch of outcomes."""

    outcomes: Annotated[list[Outcome], Field(min_length=1, max_length=500)]


@router.post("/outcomes")
async def add_outcomes(body: Outcomes, request: Request, caller: Engine) -> dict[str, int]:
    """Take in a batch, all of it or nothing. Repeating a batch changes nothing."""
    rows = [outcome.model_dump() for outcome in body.outcomes]
    for row in rows:
        require_tenant(caller, row["tenant"])
    return {"accepted": await _store(request).add_outcomes(rows)}


@router.put("/outcomes/{decision_id}/resolved")
async def resolve(decision_id: DecisionId, body: Resolved, request: Request, caller: User) -> dict[str, Any]:
    """Say whether an answer of the caller's tenant resolved the matter; saying it again changes nothing.

    `decision_id` is `governance.id` of the answer, also its header `x-promethios-decision-id`. The last word counts. An
    experiment's report shows the share of each arm that resolved.
    """
    await _store(request).resolve(decision_id, resolved=body.resolved, tenant=caller.tenant)
    return {"id": decision_id, "resolved": body.resolved}


@router.post("/experiments", status_code=201)
async def create_experiment(body: NewExperiment, request: Request, caller: Admin) -> dict[str, Any]:
    """Create an experiment."""
    require_tenant(caller, None)  # an experiment is about all tenants
    return asdict(await _store(request).create(**body.model_dump()))


@router.get("/experiments")
async def list_experiments(request: Request, caller: Admin) -> dict[str, Any]:
    """List the experiments, the newest first."""
    require_tenant(caller, None)  # an experiment is about all tenants
    return {"data": [asdict(experiment) for experiment in await _store(request).list()], "next": None}


@router.get("/experiments/{name}")
async def show_experiment(name: PathName, request: Request, caller: Admin) -> dict[str, Any]:
    """Return an experiment and what it has shown so far; looking often does no harm."""
    require_tenant(caller, None)  # an experiment is about all tenants
    experiment = await _store(request).get(name)
    report = await experiment_report(request.app.state.hub.database, experiment)
    return {**asdict(experiment), "report": plain(report)}


@router.post("/experiments/{name}/stop")
async def stop_experiment(name: PathName, request: Request, caller: Admin) -> dict[str, Any]:
    """Stop an experiment: later outcomes do not count."""
    require_tenant(caller, None)  # an experiment is about all tenants
    return asdict(await _store(request).stop(name))


def _store(request: Request) -> ExperimentStore:
    store: ExperimentStore = request.app.state.hub.experiments
    return store
