"""The application of wrapped mode: the wrapper's pieces in front of an upstream, as one ASGI callable.

A request's way, outside in:

    WrappedServer        start and end; routes; what is not governed and not harmless is closed
    BodyLimit            413 for a body that is too large
    ExperimentRouting    to the request's arm, with an experiment; a native one gets it as it came
    GovernedRequests     takes `governance` out of the body into the request's context
    GovernanceResponse   puts the decision into headers and body
    GovernedChat         decides, then lets the upstream speak, or hands over
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

from promethios.errors import ConfigError
from promethios.ontology.governance_ontology import load_ontology
from promethios_serving.governance_response import GovernanceResponse
from promethios_serving.governed_requests import GovernedRequests
from promethios_serving.openai_errors import RequestRefused, send_refusal
from promethios_serving.request_body import BodyLimit
from promethios_serving.settings import Settings
from promethios_serving.status import telemetry_status
from promethios_serving.telemetry_source import keep_fresh, telemetry_source
from promethios_serving.wrapped.experiment import Arm, Experiment, read_experiment
from promethios_serving.wrapped.experiment_routing import ExperimentRouting
from promethios_serving.wrapped.governed_chat import GovernedChat
from promethios_serving.wrapped.upstream import UPSTREAM, Upstream, UpstreamAddress, open_session


class WrappedServer:
    """The server of wrapped mode."""

    def __init__(self, settings: Settings, environment: Mapping[str, str] = os.environ) -> None:
        """Read what the settings name; environment: where an experiment's keys are. Raises a PromethiosError."""
        load_ontology()  # now, and not while the first request waits
        self._settings = settings
        self._source = telemetry_source(settings)
        self._experiment = _experiment(settings, environment)
        self._chat: ASGIApp = _not_started
        self._upstreams: dict[str, Upstream] = {}
        self._running = AsyncExitStack()
        self._pages: dict[str, Callable[[], Awaitable[tuple[bytes, bytes]]]] = {
            "/health": self._health,
            "/metrics": self._metrics,
            "/v1/governance": self._status,
            "/v1/models": self._models,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            return await self._lifespan(receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        method, path = scope["method"], scope["path"]
        if method == "POST" and path == "/v1/chat/completions":
            return await self._chat(scope, receive, send)
        page = self._pages.get(path) if method in ("GET", "HEAD") else None
        try:
            if page is None:
                message = f"{method} {path} is closed: only governed routes answer"
                raise RequestRefused(HTTPStatus.NOT_FOUND, "closed_route", message)
            content_type, body = await page()
        except RequestRefused as refusal:
            return await send_refusal(send, refusal)
        headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        return await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})

    async def _health(self) -> tuple[bytes, bytes]:
        return b"application/json", b"{}"

    async def _metrics(self) -> tuple[bytes, bytes]:
        return CONTENT_TYPE_LATEST.encode(), generate_latest()

    async def _status(self) -> tuple[bytes, bytes]:
        status = {
            "experiment": self._experiment.name,
            "arms": [arm.public() for arm in self._experiment.arms],
            "certified": False,
            "self_check": self._settings.self_check,
            "default_domain": self._settings.default_domain,
            "telemetry": telemetry_status(self._source),
        }
        return b"application/json", json.dumps(status).encode()

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
            await self._start()
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(self) -> None:
        settings = self._settings
        session = await self._running.enter_async_context(open_session(settings.upstream_timeout_s))
        self._upstreams = {arm.name: Upstream(arm.address, session) for arm in self._experiment.arms}
        self._chat = BodyLimit(self._routing(), max_bytes=settings.max_body_bytes)
        await self._source.refresh()
        refresher = asyncio.create_task(keep_fresh(self._source, settings.telemetry_interval_s))
        self._running.push_async_callback(_ended, refresher)

    def _routing(self) -> ASGIApp:
        governed = self._governed_chat()
        if self._settings.experiment_file is None:
            (upstream,) = self._upstreams.values()

            async def only_one(scope: Scope, receive: Receive, send: Send) -> None:
                await governed({**scope, UPSTREAM: upstream}, receive, send)

            return only_one
        routing = ExperimentRouting(governed, self._experiment, self._upstreams, lambda outcome: None)
        self._running.push_async_callback(routing.aclose)
        return routing

    def _governed_chat(self) -> ASGIApp:
        settings = self._settings
        app: ASGIApp = GovernedChat(
            self._source, self_check=settings.self_check, on_gate_failure=settings.on_gate_failure
        )
        app = GovernanceResponse(app, expose=settings.expose)
        return GovernedRequests(app, default_domain=settings.default_domain, telemetry_key=settings.telemetry_key)


def _experiment(settings: Settings, environment: Mapping[str, str]) -> Experiment:
    """Return the experiment; a single upstream is one with one arm. Raises ConfigError."""
    if settings.experiment_file is not None and settings.upstream_url is None:
        return read_experiment(settings.experiment_file, environment)
    if settings.experiment_file is None and settings.upstream_url is not None:
        address = UpstreamAddress(settings.upstream_url.rstrip("/"), settings.upstream_model, settings.upstream_key)
        return Experiment(name="none", arms=(Arm(name="upstream", address=address, weight=1.0),))
    raise ConfigError("wrapped mode needs one of PROMETHIOS_UPSTREAM_URL and PROMETHIOS_EXPERIMENT_FILE; set one")


async def _not_started(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("a server without lifespan events")


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
