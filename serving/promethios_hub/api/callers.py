"""Who calls the API: FastAPI dependencies that demand a scope."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from promethios_hub.refusals import forbidden
from promethios_serving.access.authenticate import authenticated
from promethios_serving.access.caller import Caller, Scope

_bearer: Final = HTTPBearer(auto_error=False, description="A key of the access file (`promethios keys`)")
LOCAL: Final = Caller(key_id="local", scopes=frozenset({"admin"}))
"""Everybody, where the hub has no access file; it listens on this machine only then."""
LOCAL_HOSTS: Final = ("127.0.0.1", "localhost")


def _needing(scope: Scope) -> Callable[..., Caller]:
    def caller(request: Request, _: Annotated[object, Security(_bearer)]) -> Caller:
        access = request.app.state.hub.access
        return LOCAL if access is None else authenticated(access, request.headers, scope)

    return caller


Engine = Annotated[Caller, Depends(_needing("engine"))]
Reviewer = Annotated[Caller, Depends(_needing("review"))]
Admin = Annotated[Caller, Depends(_needing("admin"))]
TelemetrySender = Annotated[Caller, Depends(_needing("telemetry"))]
User = Annotated[Caller, Depends(_needing("infer"))]
"""May ask for replies of its own tenant."""


def require_tenant(caller: Caller, tenant: str | None) -> None:
    """Refuse a caller of one tenant what belongs to another; one without a tenant serves all. Raises RequestRefused."""
    if caller.tenant is not None and caller.tenant != tenant:
        raise forbidden(
            f"the API key {caller.key_id!r} belongs to tenant {caller.tenant!r} and may not act for another"
        )
