"""The hub's application: one FastAPI app with its database, API, console, metrics and background work.

`create_app(settings)` makes it; `python -m promethios_hub` serves it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promethios import __version__
from promethios_hub import metrics
from promethios_hub.api import experiments_api, feedback_api, reviews_api, telemetry_api
from promethios_hub.api.callers import LOCAL_HOSTS
from promethios_hub.console.pages import add_console
from promethios_hub.database import database_url, migrate, open_database
from promethios_hub.experiments.store import ExperimentStore
from promethios_hub.refusals import forbidden
from promethios_hub.retention import keep_forgetting
from promethios_hub.reviews import ReviewStore
from promethios_hub.settings import PREFIX, HubSettings
from promethios_hub.strangers import StrangersFirst
from promethios_hub.telemetry import TelemetryStore
from promethios_hub.webhooks import WebhookSender
from promethios_serving.access.access_file import AccessFile
from promethios_serving.openai_errors import RequestRefused, send_refusal
from promethios_serving.request_body import BodyLimit

_GAUGES_EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Hub:
    """What the running hub holds; `app.state.hub`."""

    settings: HubSettings
    access: AccessFile | None
    database: AsyncEngine
    reviews: ReviewStore
    telemetry: TelemetryStore
    experiments: ExperimentStore


def create_app(settings: HubSettings) -> FastAPI:
    """Return the application. Raises ConfigError for settings that cannot be used; the database is opened at start."""
    engine = open_database(database_url(settings.database_url))
    access = AccessFile(settings.access_file) if settings.access_file else None
    hub = Hub(settings, access, engine, ReviewStore(engine), TelemetryStore(engine), ExperimentStore(engine))
    sender = WebhookSender(engine, settings.webhook_url, settings.webhook_secret)
    app = FastAPI(
        title="Promethios hub",
        version=__version__,
        description="Human review, telemetry and experiments of governed language models.",
        lifespan=_lifespan(hub, sender),
    )
    app.state.hub = hub
    for module in (reviews_api, telemetry_api, experiments_api, feedback_api):
        app.include_router(module.router, responses=_ERRORS)
    for path, endpoint in (("/health", _health), ("/ready", _ready), ("/metrics", _metrics)):
        app.add_api_route(path, endpoint, methods=["GET"], include_in_schema=False)
    app.add_exception_handler(RequestRefused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    for error in (DBAPIError, OperationalError, PoolTimeout, OSError):
        app.add_exception_handler(error, _database_away)
    add_console(app, settings.session_secret)
    limits: dict[str, Any] = {
        "max_bytes": settings.max_body_bytes,
        "timeout_s": settings.body_timeout_s,
        "setting": f"{PREFIX}MAX_BODY_BYTES",
        "timeout_setting": f"{PREFIX}BODY_TIMEOUT_S",
    }
    app.add_middleware(BodyLimit, **limits)
    if access is None:
        app.add_middleware(_ThisMachineOnly)
    else:
        app.add_middleware(StrangersFirst, access=access, limits=limits)
    app.add_middleware(_Timed)
    return app


def _lifespan(hub: Hub, sender: WebhookSender) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await migrate(hub.database)
        forgetting = keep_forgetting(hub.database, hub.settings.retention_days)
        tasks = [asyncio.create_task(work) for work in (sender.run(), _keep_gauges(hub.reviews), forgetting)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task
            await hub.database.dispose()

    return lifespan


async def _keep_gauges(store: ReviewStore) -> None:
    """Bring the gauges up to date for ever; a database that is away leaves the last values."""
    while True:
        with suppress(DBAPIError, PoolTimeout, OSError):
            waiting, assigned, oldest = await store.open_counts()
            metrics.OPEN_REVIEWS.labels(state="waiting").set(waiting)
            metrics.OPEN_REVIEWS.labels(state="assigned").set(assigned)
            metrics.OLDEST_WAITING.set(oldest)
        await asyncio.sleep(_GAUGES_EVERY_S)


async def _health() -> Response:
    return JSONResponse({"status": "alive"})


async def _ready(request: Request) -> Response:
    async with request.app.state.hub.database.connect() as connection:
        await connection.execute(text("SELECT 1"))
    return JSONResponse({"ready": True})


async def _metrics() -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _error(status: HTTPStatus, reason: str, message: str, param: str | None = None) -> Response:
    body = RequestRefused(status, reason, message, param).body()
    return Response(body, status_code=status, media_type="application/json")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestRefused)
    headers = {name.decode(): value.decode() for name, value in error.headers}
    return Response(error.body(), status_code=error.status, headers=headers, media_type="application/json")


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    return _error(HTTPStatus.BAD_REQUEST, "bad_request", f"{place or 'the body'}: {first['msg']}", place or None)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    reason = {HTTPStatus.NOT_FOUND: "not_found"}.get(status, status.phrase.lower().replace(" ", "_"))
    return _error(status, reason, str(error.detail))


async def _database_away(_: Request, error: Exception) -> Response:
    if isinstance(error, DataError):  # the request's fault: trying again would not help
        return _error(HTTPStatus.BAD_REQUEST, "bad_request", "the database cannot store one of these values")
    metrics.DATABASE_ERRORS.inc()
    message = "the database does not answer; nothing was changed, try again"
    return _error(HTTPStatus.SERVICE_UNAVAILABLE, "database_unavailable", message)


_ERROR_BODY: Final = {
    "description": "Refused, in OpenAI's error shape",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {
                    "error": {
                        "type": "object",
                        "required": ["message", "type", "param", "code"],
                        "properties": {
                            "message": {"type": "string"},
                            "type": {"type": "string"},
                            "param": {"type": ["string", "null"]},
                            "code": {"type": "string"},
                        },
                    }
                },
            }
        }
    },
}
_ERRORS: Final[dict[int | str, dict[str, Any]]] = dict.fromkeys(
    (400, 401, 403, 404, 405, 408, 409, 413, 422, 503), _ERROR_BODY
)


class _ThisMachineOnly:
    """ASGI middleware of a hub without keys: a web page that gives its own name this machine's address is refused."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and HTTPConnection(scope).url.hostname not in LOCAL_HOSTS:
            message = f"without an access file the hub answers on {' and '.join(LOCAL_HOSTS)} only; set the file"
            return await send_refusal(send, forbidden(message))
        return await self.app(scope, receive, send)


class _Timed:
    """ASGI middleware: how long each route takes."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            # the pattern, not the path: ids would make a series each
            route = getattr(scope.get("route"), "path", "none")
            seconds = time.perf_counter() - started
            metrics.REQUEST_SECONDS.labels(route=route, method=scope["method"], status=status).observe(seconds)
        return None
