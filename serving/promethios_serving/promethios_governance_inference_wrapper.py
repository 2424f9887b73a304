"""The inference wrapper: entry point `vllm.endpoint_plugins`, loaded by vLLM's API server (VLLM_PLUGINS names it).

A request's way, outside in; each piece is one small ASGI class in a file of its own:

    RequireGovernance    (--middleware)  nothing answers while the wrapper is not in place
    vLLM's own           API key, CORS, metrics
    LimitHeaders         at the start: 431 for headers that are too large, an end for those that are too slow
    InFlight             counts; readiness; closes connections while the server drains
    RequestId            x-request-id
    Authenticate         who calls; 401 and 403
    RouteAllowlist       governed routes and such that cannot generate; every other is closed
    BodyLimit            413 for a body that is too large, 408 for one that is too slow
    TimeLimit            504 for an answer that takes too long
    GovernedRequests     takes `governance` out of the body into the request's context
    Quotas               429 above what the tenant has
    GovernanceResponse   puts the decision into headers and body
    vLLM's route         parses, renders, tokenises, calls the engine
    GovernedEngine       scrubs, appends the live header, gates, decides, speaks
"""

from __future__ import annotations

import asyncio
import os
import time
from argparse import Namespace
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import State
from starlette.types import Scope

from promethios.errors import ServingError
from promethios.evaluation.calibration import Calibration
from promethios.evaluation.certificate import Certificate, certificate_sha256
from promethios.telemetry.header import ReservedIds
from promethios_serving import engine_hook
from promethios_serving.access.access_file import AccessFile
from promethios_serving.access.authenticate import Authenticate
from promethios_serving.access.quotas import Quotas
from promethios_serving.audit.audit_log import AuditLog
from promethios_serving.decision_log import LOGGER, show_log
from promethios_serving.fail_closed import STATE_ATTRIBUTE
from promethios_serving.governance_response import GovernanceResponse
from promethios_serving.governed_requests import GovernedRequests
from promethios_serving.governor import Governor
from promethios_serving.header_limits import LimitHeaders
from promethios_serving.in_flight import InFlight
from promethios_serving.openapi_document import governed_document
from promethios_serving.request_body import BodyLimit
from promethios_serving.request_context import CURRENT, GovernedRequest
from promethios_serving.request_id import RequestId
from promethios_serving.reviews.hub_link import HubLink, hub_link
from promethios_serving.reviews.review_record import DecidingModel
from promethios_serving.route_allowlist import RouteAllowlist, closed_routes, needed_scope
from promethios_serving.self_questioning import SelfQuestions
from promethios_serving.settings import Settings
from promethios_serving.status import governance_status, model_status
from promethios_serving.telemetry.choice import signed_telemetry, telemetry_source
from promethios_serving.telemetry.source import keep_fresh
from promethios_serving.time_limit import TimeLimit


@dataclass(frozen=True, slots=True)
class Governance:
    """What the running server holds: settings, governor, the task that keeps telemetry fresh, the link to the hub.

    model_status: the model's part of GET /v1/governance.
    """

    settings: Settings
    governor: Governor
    model_status: dict[str, Any]
    refresher: asyncio.Task[None]
    hub: HubLink | None


class InferenceWrapper:
    """vLLM endpoint plugin: governs everything that the API server generates."""

    name = "promethios_api"
    required_tasks = ("generate",)

    def attach_router(self, app: FastAPI) -> None:
        """Add the status route and the ASGI pieces. Raises ConfigError for a bad setting."""
        show_log()
        settings = Settings.from_environment(os.environ)
        app.add_api_route("/v1/governance", governance_status, methods=["GET"])
        of_vllm = app.openapi
        app.openapi = cache(lambda: governed_document(of_vllm()))  # type: ignore[method-assign]
        # The last one added is the outermost.
        app.add_middleware(GovernanceResponse, expose=settings.expose)
        app.add_middleware(Quotas)
        app.add_middleware(
            GovernedRequests,
            default_domain=settings.default_domain,
            telemetry_key=settings.telemetry_key,
            signed=signed_telemetry(settings),
        )
        app.add_middleware(TimeLimit, seconds=settings.request_timeout_s)
        app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s)
        app.add_middleware(RouteAllowlist)
        access = AccessFile(settings.access_file) if settings.access_file else None
        app.add_middleware(Authenticate, access=access, needed_scope=needed_scope)
        app.add_middleware(RequestId)
        app.add_middleware(InFlight, drain_file=settings.drain_file, is_up=_is_up)
        app.add_middleware(LimitHeaders, max_bytes=settings.max_header_bytes, timeout_s=settings.header_timeout_s)
        LOGGER.info("closed routes: %s", ", ".join(closed_routes(app.routes)))

    async def init_state(self, engine_client: Any, state: State, args: Namespace) -> None:
        """Load calibration, certificate and telemetry, hook the engine and run one governed request through it.

        Raises a PromethiosError when the model folder is not whole, its calibration, certificate or lineage belongs to
        other weights, the telemetry file is bad or the warm-up fails; the server then does not start.
        """
        settings = Settings.from_environment(os.environ)
        folder = Path(args.model)
        calibration = Calibration.load(folder)
        certificate = Certificate.load(folder, calibration)
        source = telemetry_source(settings)
        config = engine_client.model_config.hf_config
        reserved = ReservedIds(config.first_reserved_id)
        is_seen = settings.hub_url is not None or settings.expose == "scores"
        principles = config.shown_principles if is_seen else {}
        governor = Governor(calibration, certificate, source, reserved, principles)
        await source.refresh()
        model = DecidingModel(
            name=(args.served_model_name or [folder.name])[0],
            weights_sha256=calibration.weights_sha256,
            certificate_sha256=certificate_sha256(folder),
        )
        shown = model_status(folder, model.name, certificate, needs_lineage=settings.require_lineage)
        hub = hub_link(settings, model)
        questions = SelfQuestions.of(folder, settings.self_questions)
        engine_hook.install(
            engine_client,
            governor,
            settings.on_gate_failure,
            model=model,
            audit=AuditLog(settings.audit_log) if settings.audit_log else None,
            reviews=hub.reviews if hub else None,
            questions=questions,
        )
        seconds = await _warm_up(engine_client)
        refresher = asyncio.create_task(keep_fresh(source, settings.telemetry_interval_s))
        setattr(state, STATE_ATTRIBUTE, Governance(settings, governor, shown, refresher, hub))
        LOGGER.info(
            "ready: weights %s, telemetry from %s, first governed request %.2f s; try: "
            "curl http://%s:%s/v1/chat/completions -H 'content-type: application/json' -d '%s'",
            calibration.weights_sha256[:12],
            source.name,
            seconds,
            args.host or "127.0.0.1",
            args.port,
            '{"messages": [{"role": "user", "content": "Hello"}]}',
        )


def _is_up(scope: Scope) -> bool:
    """Return whether the warm-up went through and the engine still lives."""
    state = scope["app"].state
    return hasattr(state, STATE_ATTRIBUTE) and not state.engine_client.errored


async def _warm_up(engine_client: Any) -> float:
    """Run one governed request through gate and speech; returns its seconds. Raises ServingError when it fails."""
    from vllm import SamplingParams

    started = time.perf_counter()
    request = GovernedRequest(route="warm-up", counted=False)
    token = CURRENT.set(request)
    prompt = {"type": "token", "prompt_token_ids": [engine_client.model_config.hf_config.eos_token_id]}
    try:
        async for _ in engine_client.generate(prompt, SamplingParams(max_tokens=2, temperature=1.0), "warm-up"):
            pass
    finally:
        CURRENT.reset(token)
    if request.outcome is None or request.outcome.probability is None:
        raise ServingError("the warm-up request could not be decided; see the log above for the gate's failure")
    return time.perf_counter() - started
