"""The application of wrapped mode: the wrapper's pieces in front of an upstream, as one ASGI callable.

A request's way, outside in:

    WrappedServer        start and end
    InFlight             counts; readiness; closes connections while the server drains
    RequestId            x-request-id
    Authenticate         who calls; 401 and 403
    (_route)             what is not governed and not harmless is closed
    BodyLimit            413 for a body that is too large, 408 for one that is too slow
    TimeLimit            504 for an answer that takes too long
    GovernedRequests     takes `governance` out of the body into the request's context
    Quotas               429 above what the tenant has
    ExperimentRouting    to the request's arm, with an experiment; a native engine decides itself
    GovernanceResponse   puts the decision into headers and body
    GovernedAnswers      decides, then lets the upstream speak, or hands over
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from http import HTTPStatus
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp, Receive, Scope, Send

from promethios.errors import ConfigError, PromethiosError
from promethios.ontology.governance_ontology import load_ontology
from promethios_serving import metrics
from promethios_serving.access.access_file import AccessFile
from promethios_serving.access.authenticate import Authenticate
from promethios_serving.access.quotas import Quotas
from promethios_serving.audit.audit_log import AuditLog
from promethios_serving.decision_log import LOGGER
from promethios_serving.governance_response import GovernanceResponse
from promethios_serving.governed_requests import GovernedRequests
from promethios_serving.in_flight import InFlight
from promethios_serving.openai_errors import RequestRefused, send_refusal
from promethios_serving.openapi_document import wrapped_document
from promethios_serving.request_body import BodyLimit
from promethios_serving.request_id import RequestId
from promethios_serving.reviews.hub_link import HubLink, hub_link
from promethios_serving.reviews.review_record import DecidingModel
from promethios_serving.reviews.spool import SpoolFull
from promethios_serving.route_allowlist import needed_scope
from promethios_serving.settings import Settings
from promethios_serving.status import telemetry_status
from promethios_serving.telemetry.choice import signed_telemetry, telemetry_source
from promethios_serving.telemetry.source import keep_fresh
from promethios_serving.time_limit import TimeLimit
from promethios_serving.wrapped.experiment import Arm, Experiment, read_experiment
from promethios_serving.wrapped.experiment_routing import ExperimentRouting, Report
from promethios_serving.wrapped.governed_answers import GovernedAnswers
from promethios_serving.wrapped.interfaces import INTERFACES
from promethios_serving.wrapped.upstream import UPSTREAM, Upstream, UpstreamAddress, open_session


class WrappedServer:
    """The server of wrapped mode. failure: why it could not start, if it could not."""

    def __init__(self, settings: Settings, environment: Mapping[str, str] = os.environ) -> None:
        """Read what the settings name; environment: where an experiment's keys are. Raises a PromethiosError."""
        load_ontology()  # now, and not while the first request waits
        self.failure: PromethiosError | None = None
        self._settings = settings
        self._source = telemetry_source(settings)
        self._signed = signed_telemetry(settings)
        self._experiment = _experiment(settings, environment)
        access = AccessFile(settings.access_file) if settings.access_file else None
        self._audit = AuditLog(settings.audit_log) if settings.audit_log else None
        authenticated = RequestId(Authenticate(self._route, access, needed_scope))
        self._in_flight = InFlight(
            authenticated, settings.drain_file, is_up=lambda _: self._governed is not _not_started
        )
        self._governed: ASGIApp = _not_started
        self._upstreams: dict[str, Upstream] = {}
        self._running = AsyncExitStack()
        self._pages: dict[str, Callable[[], Awaitable[tuple[bytes, bytes]]]] = {
            "/health": self._health,
            "/metrics": self._metrics,
            "/v1/governance": self._status,
            "/v1/models": self._models,
            "/openapi.json": self._document,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            return await self._lifespan(receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        return await self._in_flight(scope, receive, send)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        if method == "POST" and path in INTERFACES:
            return await self._governed(scope, receive, send)
        page = self._pages.get(path) if method in ("GET", "HEAD") else None
        try:
            if page is None:
                instead = " or ".join(INTERFACES)
                message = f"{method} {path} is not governed in wrapped mode, so it is closed; ask POST {instead}"
                raise RequestRefused(HTTPStatus.NOT_FOUND, "closed_route", message)
            content_type, body = await page()
        except RequestRefused as refusal:
            return await send_refusal(send, refusal)
        headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        return await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})

    @property
    def _has_started(self) -> bool:
        return self._governed is not _not_started

    async def _health(self) -> tuple[bytes, bytes]:
        return b"application/json", b"{}"

    async def _metrics(self) -> tuple[bytes, bytes]:
        return CONTENT_TYPE_LATEST.encode(), generate_latest()

    async def _status(self) -> tuple[bytes, bytes]:
        status = {
            "experiment": self._experiment.name if self._settings.experiment_file else None,
            "arms": [arm.public() for arm in self._experiment.arms],
            "certified": False,
            "self_check": self._settings.self_check,
            "default_domain": self._settings.default_domain,
            "telemetry": telemetry_status(self._source),
        }
        return b"application/json", json.dumps(status).encode()

    async def _document(self) -> tuple[bytes, bytes]:
        return b"application/json", json.dumps(wrapped_document(self._pages)).encode()

    async def _models(self) -> tuple[bytes, bytes]:
        arm = next(arm for arm in self._experiment.arms if not arm.shadow)
        if (model := arm.address.model) is not None:
            models: Any = {"object": "list", "data": [{"id": model, "object": "model", "owned_by": "upstream"}]}
        else:
            models = await self._upstreams[arm.name].get_json("/models")
        return b"application/json", json.dumps(models).encode()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self._running:
            try:
                await self._start()
            except PromethiosError as error:
                self.failure = error
                return await send({"type": "lifespan.startup.failed", "message": ""})
            await send({"type": "lifespan.startup.complete"})
            await receive()
        return await send({"type": "lifespan.shutdown.complete"})

    async def _start(self) -> None:
        settings = self._settings
        if self._audit is not None:
            self._running.callback(self._audit.close)
        session = await self._running.enter_async_context(open_session(settings.upstream_timeout_s))
        link = hub_link(settings, DecidingModel(name=settings.upstream_model or "upstream"))
        if link is not None:
            self._running.push_async_callback(link.close)
        self._upstreams = {arm.name: Upstream(arm.address, session) for arm in self._experiment.arms}
        self._governed = self._stack(link)
        await self._source.refresh()
        refresher = asyncio.create_task(keep_fresh(self._source, settings.telemetry_interval_s))
        self._running.push_async_callback(_ended, refresher)

    def _stack(self, link: HubLink | None) -> ASGIApp:
        """Return what answers the governed routes; the last piece is the outermost."""
        settings = self._settings
        app: ASGIApp = GovernedAnswers(
            self._source,
            self_check=settings.self_check,
            on_gate_failure=settings.on_gate_failure,
            audit=self._audit,
            reviews=link.reviews if link else None,
        )
        app = GovernanceResponse(app, expose=settings.expose)
        app = self._routed(app, link)
        app = Quotas(app)
        app = GovernedRequests(
            app,
            default_domain=settings.default_domain,
            telemetry_key=settings.telemetry_key,
            signed=self._signed,
        )
        app = TimeLimit(app, settings.request_timeout_s)
        return BodyLimit(app, max_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s)

    def _routed(self, governed: ASGIApp, link: HubLink | None) -> ASGIApp:
        if self._settings.experiment_file is None:
            (upstream,) = self._upstreams.values()

            async def only_one(scope: Scope, receive: Receive, send: Send) -> None:
                await governed({**scope, UPSTREAM: upstream}, receive, send)

            return only_one
        routing = ExperimentRouting(governed, self._experiment, self._upstreams, _reporter(link))
        self._running.push_async_callback(routing.aclose)
        return routing


def _experiment(settings: Settings, environment: Mapping[str, str]) -> Experiment:
    """Return the experiment; a single upstream is one with one arm. Raises ConfigError."""
    if settings.experiment_file is not None and settings.upstream_url is None:
        return read_experiment(settings.experiment_file, environment)
    if settings.experiment_file is None and settings.upstream_url is not None:
        address = UpstreamAddress(settings.upstream_url.rstrip("/"), settings.upstream_model, settings.upstream_key)
        return Experiment(name="one_upstream", arms=(Arm(name="upstream", address=address, weight=1.0),))
    raise ConfigError("wrapped mode needs one of PROMETHIOS_UPSTREAM_URL and PROMETHIOS_EXPERIMENT_FILE; set one")


def _reporter(link: HubLink | None) -> Report:
    """Return what takes an experiment's outcomes to the hub; without one they are nobody's."""

    async def report(outcome: dict[str, Any]) -> None:
        if link is None:
            return
        try:
            await link.spool.put("outcomes", outcome)
        except SpoolFull as error:
            metrics.HUB_ERRORS.labels(reason="spool").inc()
            LOGGER.error("the outcome of %s is lost: %s", outcome["id"], error)

    return report


async def _not_started(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("a server without lifespan events")


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
