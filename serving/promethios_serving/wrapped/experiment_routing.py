"""ASGI piece that sends each governed request to its arm of the experiment, and to the shadow arms after it.

A native arm is a Promethios engine: it gets the request as the client meant it, with its x-request-id, and decides
itself. The others are governed here. Shadows run in the background, at most MAX_SHADOWS at a time; what is too much is
dropped and counted. Their answers are read to the end, so that they cost what they would, and shown to nobody.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promethios_serving import metrics, request_id
from promethios_serving.governance_response import DECISION_HEADER, DECISION_ID_HEADER
from promethios_serving.request_body import read_body, replay
from promethios_serving.request_context import CURRENT, GovernedRequest
from promethios_serving.wrapped.experiment import Arm, Experiment, assign, unit_of
from promethios_serving.wrapped.interfaces import INTERFACES
from promethios_serving.wrapped.relay import answer_while_connected, relay_answer
from promethios_serving.wrapped.trial import TRIAL, Trial
from promethios_serving.wrapped.upstream import UPSTREAM, Upstream

Report = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]
"""Takes an outcome to the hub; does not raise."""
MAX_SHADOWS: Final = 32
_DECISION_HEADERS: Final = (DECISION_HEADER, DECISION_ID_HEADER)
_log: Final = logging.getLogger("promethios.experiments")


class ExperimentRouting:
    """Shares requests out among the arms of an experiment; behind GovernedRequests and the quotas."""

    def __init__(
        self,
        governed: ASGIApp,
        experiment: Experiment,
        upstreams: Mapping[str, Upstream],
        report: Report,
    ) -> None:
        """governed: answers for the arms that are governed here. upstreams: of each arm."""
        self._governed = governed
        self._experiment = experiment
        self._upstreams = upstreams
        self._report = report
        self._shadows: set[asyncio.Task[None]] = set()
        self._reports: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        request = CURRENT.get()
        assert request is not None, "GovernedRequests comes before"
        raw = await read_body(receive)
        unit = _unit(request)
        arm = assign(self._experiment, unit)
        request.experiment = {"name": self._experiment.name, "arm": arm.name}
        await self._run(self._trial(arm, unit, request), scope, raw, receive, send)
        for arm in self._experiment.shadows:
            self._start_shadow(self._trial(arm, unit, request), scope, raw)

    async def aclose(self) -> None:
        """End the shadows that still run, and wait until what is known is reported."""
        for task in self._shadows:
            task.cancel()
        await asyncio.gather(*self._shadows, return_exceptions=True)
        await asyncio.gather(*self._reports)

    def _trial(self, arm: Arm, unit: str, request: GovernedRequest) -> Trial:
        return Trial(experiment=self._experiment.name, arm=arm, unit=unit, tenant=request.caller.tenant)

    async def _run(self, trial: Trial, scope: Scope, raw: bytes, receive: Receive, send: Send | None) -> None:
        """Run a request at an arm and report what came of it; without a `send`, nobody sees the answer."""
        upstream, watched = self._upstreams[trial.arm.name], trial.watched(send)
        try:
            if trial.arm.native:
                await answer_while_connected(partial(_native_answer, upstream, raw), receive, watched)
            else:
                await self._governed({**scope, UPSTREAM: upstream, TRIAL: trial}, replay(raw, receive), watched)
        finally:
            outcome = trial.outcome()
            if outcome is not None:
                _keep(self._reports, asyncio.create_task(self._report(outcome)))

    def _start_shadow(self, trial: Trial, scope: Scope, raw: bytes) -> None:
        is_full = len(self._shadows) >= MAX_SHADOWS
        metrics.SHADOW_REQUESTS.labels(arm=trial.arm.name, result="dropped" if is_full else "started").inc()
        if not is_full:
            name = f"the shadow arm {trial.arm.name}"
            _keep(self._shadows, asyncio.create_task(self._shadow(trial, scope, raw), name=name))

    async def _shadow(self, trial: Trial, scope: Scope, raw: bytes) -> None:
        request = CURRENT.get()
        assert request is not None
        # A request of its own: another id, in no log, no metric and no review.
        repeated = GovernedRequest(
            route=request.route,
            domain=request.domain,
            telemetry=request.telemetry,
            caller=request.caller,
            subject=request.subject,
            client_request_id=request.client_request_id,
            counted=False,
        )
        CURRENT.set(repeated)
        await self._run(trial, scope, raw, _never, None)


def _keep(tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
    """Hold on to a task while it runs, which the event loop alone might let go of; a defect in it shows in the log."""
    tasks.add(task)
    task.add_done_callback(partial(_ended, tasks))


def _ended(tasks: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
    tasks.discard(task)
    if not task.cancelled() and (defect := task.exception()) is not None:
        _log.error("%s failed", task.get_name(), exc_info=defect)


async def _native_answer(upstream: Upstream, raw: bytes, send: Send) -> None:
    """Ask an engine what the client asked, with what the client said about its governance."""
    request = CURRENT.get()
    assert request is not None
    body = json.loads(raw)
    if upstream.address.model is not None:
        body["model"] = upstream.address.model
    if governance := _governance(request):
        body["governance"] = governance
    name = {} if request.client_request_id is None else {request_id.HEADER: request.client_request_id}

    async def decided(message: Message) -> None:
        request.turned_away = None  # the engine has decided on it
        await send(message)

    await relay_answer(
        upstream,
        INTERFACES[request.route],
        json.dumps(body).encode(),
        request,
        decided,
        streamed=bool(body.get("stream")),
        sent_headers=name,
        passed_headers=_DECISION_HEADERS,
    )


def _governance(request: GovernedRequest) -> dict[str, Any]:
    """Return the `governance` field of a request, without what the client left out."""
    telemetry = None if request.telemetry is None else request.telemetry.to_mapping()
    names = {"agent": request.subject.agent, "session": request.subject.session}
    subject = {name: value for name, value in names.items() if value is not None} or None
    field = {"domain": request.domain, "telemetry": telemetry, "subject": subject}
    return {name: value for name, value in field.items() if value is not None}


def _unit(request: GovernedRequest) -> str:
    """Return the unit of a request: its tenant and session; without a session, a request is a unit of its own."""
    return unit_of(request.caller.tenant, request.subject.session or request.id)


async def _never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("nothing sets it")
