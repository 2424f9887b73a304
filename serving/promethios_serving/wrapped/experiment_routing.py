"""ASGI middleware that sends each request to its arm of the experiment, and to the shadow arms after it.

A native arm is a Promethios engine: it gets the request as it came and governs it itself, as one of its own tenants.
The others are governed here. Shadows run in the background, at most MAX_SHADOWS at a time; what is too much is dropped
and counted. Their answers are read to the end, so that they cost what they would, and shown to nobody.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promethios_serving import metrics
from promethios_serving.request_body import ClientGone, read_body, replay
from promethios_serving.wrapped.experiment import Arm, Experiment, assign, unit_of
from promethios_serving.wrapped.relay import answer_while_connected, relay_completion
from promethios_serving.wrapped.trial import TRIAL, Trial
from promethios_serving.wrapped.upstream import UPSTREAM, Upstream

MAX_SHADOWS: Final = 32
SESSION_HEADER: Final = "x-promethios-session"
_log: Final = logging.getLogger("promethios.experiments")


class ExperimentRouting:
    """Shares chat completions out among the arms of an experiment."""

    def __init__(
        self,
        governed: ASGIApp,
        experiment: Experiment,
        upstreams: Mapping[str, Upstream],
        report: Callable[[dict[str, Any]], None],
    ) -> None:
        """governed: the stack for arms that are governed here. upstreams: of each arm. report: takes an outcome."""
        self._governed = governed
        self._experiment = experiment
        self._upstreams = upstreams
        self._report = report
        self._shadows: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        try:
            raw = await read_body(receive)
        except ClientGone:
            return
        unit = _unit(scope, raw)
        trial = self._trial(assign(self._experiment, unit), unit)
        try:
            await self._run(trial, scope, raw, receive, trial.watched(send))
        finally:
            self._tell(trial)
        for arm in self._experiment.shadows:
            self._start_shadow(self._trial(arm, unit), scope, raw)

    async def aclose(self) -> None:
        """End the shadows that still run."""
        for task in self._shadows:
            task.cancel()
        await asyncio.gather(*self._shadows, return_exceptions=True)

    def _trial(self, arm: Arm, unit: str) -> Trial:
        return Trial(experiment=self._experiment.name, arm=arm, unit=unit)

    async def _run(self, trial: Trial, scope: Scope, raw: bytes, receive: Receive, send: Send) -> None:
        upstream = self._upstreams[trial.arm.name]
        if not trial.arm.native:
            await self._governed({**scope, UPSTREAM: upstream, TRIAL: trial}, replay(raw, receive), send)
        else:
            await answer_while_connected(_native_answer(upstream, scope, raw, send), receive, send)

    def _tell(self, trial: Trial) -> None:
        outcome = trial.outcome()
        if outcome is not None:
            self._report(outcome)

    def _start_shadow(self, trial: Trial, scope: Scope, raw: bytes) -> None:
        counter = metrics.SHADOW_REQUESTS
        if len(self._shadows) >= MAX_SHADOWS:
            counter.labels(arm=trial.arm.name, result="dropped").inc()
            return
        counter.labels(arm=trial.arm.name, result="started").inc()
        task = asyncio.create_task(self._shadow(trial, scope, raw))
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)

    async def _shadow(self, trial: Trial, scope: Scope, raw: bytes) -> None:
        try:
            await self._run(trial, scope, raw, _never, trial.watched(None))
        except Exception:  # noqa: BLE001  a defect in the background must show, and must not end the server
            _log.exception("the shadow arm %s failed", trial.arm.name)
        self._tell(trial)


async def _native_answer(upstream: Upstream, scope: Scope, raw: bytes, send: Send) -> None:
    """Pass a request to an engine as it came, with the headers that speak to its governance."""
    body = _parsed(raw)
    headers = {
        name: value
        for name, value in Headers(scope=scope).items()
        if name.startswith("x-promethios-") or name == "x-request-id"
    }
    if upstream.address.model is not None and body:
        raw = json.dumps({**body, "model": upstream.address.model}).encode()
    await relay_completion(upstream, "/chat/completions", raw, send, streamed=bool(body.get("stream")), headers=headers)


def _unit(scope: Scope, raw: bytes) -> str:
    """Return the unit of a request: its tenant and session; without a session, a request is a unit of its own."""
    caller = scope.get("promethios.caller")
    session = Headers(scope=scope).get(SESSION_HEADER) or _session_in(_parsed(raw))
    return unit_of(caller.tenant if caller is not None else None, session or uuid.uuid4().hex)


def _session_in(body: Mapping[str, Any]) -> str | None:
    try:
        session = body["governance"]["subject"]["session"]
    except (LookupError, TypeError):
        return None
    return session if isinstance(session, str) else None


def _parsed(raw: bytes) -> dict[str, Any]:
    """Return a body, or {} for one that is no JSON object, which whoever answers refuses."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


async def _never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("nothing sets it")
