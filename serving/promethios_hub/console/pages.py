"""The pages under /console."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, FastAPI, Form, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from jinja2 import StrictUndefined
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promethios.ontology.governance_ontology import load_ontology
from promethios_hub.api.reviews_api import settle, visible_review
from promethios_hub.console import charts, wording
from promethios_hub.console.session import COOKIE, OwnForm, Sessions, SignedIn, SignInNeeded, sign_in
from promethios_hub.experiments.report import experiment_report
from promethios_hub.refusals import bad_request, forbidden
from promethios_hub.review_statistics import review_statistics
from promethios_hub.reviews import Decision, Page, ReviewStore
from promethios_serving.openai_errors import RequestRefused

router = APIRouter(prefix="/console", include_in_schema=False)
_FOLDER: Final = Path(__file__).parent
_HEADERS: Final = {
    # nothing from elsewhere, no inline script or style: text that slipped through unescaped could still do nothing
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
_PAGE_SIZE: Final = 50
State = Literal["open", "waiting", "assigned", "done"]
Text = Annotated[str, Query(max_length=200)]


def add_console(app: FastAPI, session_secret: str | None) -> None:
    """Add the console to the hub's application."""
    app.state.sessions = Sessions(session_secret)
    templates = Jinja2Templates(directory=_FOLDER / "templates")
    templates.env.undefined = StrictUndefined
    templates.env.globals |= {"wording": wording, "ontology": load_ontology(), "charts": charts}
    app.state.templates = templates
    app.mount("/console/static", StaticFiles(directory=_FOLDER / "static"), name="console-static")
    app.include_router(router)
    app.add_exception_handler(SignInNeeded, _to_sign_in)
    for error in (RequestRefused, RequestValidationError):
        app.add_exception_handler(error, _as_a_page(app.exception_handlers[error]))
    app.add_middleware(_Guarded)


def _as_a_page(otherwise: Any) -> Any:
    """Return a handler that shows a refusal as a page to people, and leaves the API's to its own handler."""

    async def handler(request: Request, error: Exception) -> Response:
        if not request.url.path.startswith("/console"):
            response: Response = await otherwise(request, error)
            return response
        if not isinstance(error, RequestRefused):
            error = bad_request("What was sent is not what this page sends.")
        title = {HTTPStatus.NOT_FOUND: "Not found", HTTPStatus.FORBIDDEN: "Not allowed"}.get(error.status, "Refused")
        return _page(request, "refused", error.status, title=title, message=error.message)

    return handler


class _Guarded:
    """ASGI middleware: the console's security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/console"):
            return await self.app(scope, receive, send)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        return await self.app(scope, receive, sending)


def _page(request: Request, name: str, status: int = 200, **content: Any) -> HTMLResponse:
    templates: Jinja2Templates = request.app.state.templates
    content = {"session": None, "notice": "", **content}
    return templates.TemplateResponse(request, f"{name}.html", content, status_code=status)


async def _to_sign_in(request: Request, _: Exception) -> Response:
    return RedirectResponse("/console/sign-in", HTTPStatus.SEE_OTHER)


def _store(request: Request) -> ReviewStore:
    store: ReviewStore = request.app.state.hub.reviews
    return store


@router.get("")
async def start() -> Response:
    """Go to the queue."""
    return RedirectResponse("/console/reviews", HTTPStatus.SEE_OTHER)


@router.get("/sign-in")
async def sign_in_page(request: Request) -> Response:
    """Ask for a key."""
    return _page(request, "sign_in", needs_key=request.app.state.hub.access is not None)


@router.post("/sign-in")
async def sign_in_form(request: Request, key: Annotated[str, Form(max_length=500)] = "") -> Response:
    """Take the key and go to the queue."""
    response = RedirectResponse("/console/reviews", HTTPStatus.SEE_OTHER)
    try:
        sign_in(request, response, key)
    except RequestRefused as refusal:
        return _page(request, "sign_in", refusal.status, needs_key=True, notice=refusal.message)
    return response


@router.post("/sign-out", dependencies=[OwnForm])
async def sign_out() -> Response:
    """End the session."""
    response = RedirectResponse("/console/sign-in", HTTPStatus.SEE_OTHER)
    response.delete_cookie(COOKIE, path="/console")
    return response


@router.get("/reviews")
async def queue(
    request: Request,
    session: SignedIn,
    state: State = "open",
    domain: Text = "",
    reason: Text = "",
    q: Text = "",
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
) -> Response:
    """Show the queue."""
    states = ("waiting", "assigned") if state == "open" else (state,)
    chosen = {"state": state, "domain": domain, "reason": reason, "q": q.replace("\0", "")}
    page = await _store(request).page(
        states=states,  # type: ignore[arg-type]
        domain=domain or None,
        reason=reason or None,
        tenant=session.caller.tenant,
        query=chosen["q"],
        after=after,
        limit=_PAGE_SIZE,
    )
    waiting, assigned, _ = await _store(request).open_counts(session.caller.tenant)
    return _page(request, "queue", session=session, page=page, chosen=chosen, open_count=waiting + assigned)


@router.get("/count")
async def count(request: Request, session: SignedIn) -> Response:
    """Return how many reviews are open, for the page's heading."""
    waiting, assigned, oldest = await _store(request).open_counts(session.caller.tenant)
    return JSONResponse({"open": waiting + assigned, "oldest": wording.duration(oldest)})


@router.get("/reviews/{review_id}")
async def review_page(review_id: str, request: Request, session: SignedIn) -> Response:
    """Show one review."""
    return await _review_page(request, session, review_id)


async def _review_page(
    request: Request, session: SignedIn, review_id: str, notice: str = "", status: int = 200, draft: str | None = None
) -> Response:
    review = await visible_review(_store(request), review_id, session.caller.tenant)
    similar = await _store(request).similar(review_id, tenant=session.caller.tenant)
    return _page(request, "review", status, session=session, review=review, similar=similar, notice=notice, draft=draft)


@router.post("/reviews/{review_id}/{change}", dependencies=[OwnForm])
async def change_review(
    review_id: str,
    change: Literal["assign", "release", "approve", "edit", "override", "reject"],
    request: Request,
    session: SignedIn,
    version: Annotated[int, Form(ge=1)],
    decision: Annotated[str, Form(max_length=20)] = "",
    response: Annotated[str, Form(max_length=1_000_000)] = "",
) -> Response:
    """Do what a button of a review's page says; a review that changed meanwhile is shown again with what was typed."""
    store, reviewer = _store(request), session.reviewer
    await visible_review(store, review_id, session.caller.tenant)
    try:
        if change == "assign":
            await store.assign(review_id, reviewer, version)
        elif change == "release":
            await store.release(review_id, reviewer, version)
        else:
            made = Decision(
                action=change,
                decision=(decision or None) if change == "override" else None,
                response=_text(response) if change in ("edit", "override") else None,
            )
            await settle(store, review_id, made, reviewer, version)
    except RequestRefused as refusal:
        notice = wording.refusal(refusal.reason, refusal.message)
        return await _review_page(request, session, review_id, notice, refusal.status, draft=response or None)
    if change == "assign":
        return RedirectResponse(f"/console/reviews/{review_id}", HTTPStatus.SEE_OTHER)
    return await _next(request, session)


async def _next(request: Request, session: SignedIn) -> Response:
    """Go to the review that has waited longest, or to the empty queue."""
    page: Page = await _store(request).page(states=("waiting",), tenant=session.caller.tenant, limit=1)
    target = f"/console/reviews/{page.items[0].id}" if page.items else "/console/reviews"
    return RedirectResponse(target, HTTPStatus.SEE_OTHER)


@router.get("/metrics")
async def metrics_page(request: Request, session: SignedIn) -> Response:
    """Show the work of the last two weeks; a tenant's reviewer sees that of its tenant."""
    statistics = await review_statistics(request.app.state.hub.database, 14, session.caller.tenant)
    return _page(request, "metrics", session=session, statistics=statistics)


@router.get("/experiments")
async def experiments_page(request: Request, session: SignedIn) -> Response:
    """List the experiments."""
    _without_tenant(session)
    found = await request.app.state.hub.experiments.list()
    return _page(request, "experiments", session=session, experiments=found)


@router.get("/experiments/{name}")
async def experiment_page(name: str, request: Request, session: SignedIn) -> Response:
    """Show what an experiment says so far."""
    _without_tenant(session)
    experiment = await request.app.state.hub.experiments.get(name)
    arms = await experiment_report(request.app.state.hub.database, experiment)
    return _page(request, "experiment", session=session, experiment=experiment, arms=arms)


def _without_tenant(session: SignedIn) -> None:
    """Refuse a reviewer of one tenant what is about all of them. Raises RequestRefused."""
    if session.caller.tenant is not None:
        raise forbidden("Experiments are about all tenants; this page needs a key without a tenant.")


def _text(response: str) -> str | None:
    """Return what was typed; browsers send the line ends of typewriters."""
    return response.replace("\r\n", "\n").strip() or None
