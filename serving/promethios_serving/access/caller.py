"""Who sends a request, as everything behind the authentication sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

Scope = Literal["infer", "telemetry", "review", "admin", "engine"]
SCOPES: Final[tuple[str, ...]] = get_args(Scope)
"""infer: generate, poll one's own reviews, and say what came of an answer. telemetry: speak for the telemetry.
review: the reviewers' work. admin: experiments, feedback, everything of the hub. engine: an engine that reports to the
hub."""

_KEY: Final = "promethios.caller"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How much a tenant, all its keys together, or one key may ask of one server process; 0 for no limit."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    concurrent_requests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantPolicy:
    """What holds for all requests of a tenant.

    domain: of requests that name none. domains: the only ones it may name; empty for any. minimum_decision: no request
    is decided less carefully.
    """

    domain: str | None = None
    domains: frozenset[str] = frozenset()
    minimum_decision: str | None = None
    quota: Quota = Quota()


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One caller: the id of its key (never the key), its tenant, what it may do, its tenant's policy, its own quota."""

    key_id: str | None = None
    tenant: str | None = None
    scopes: frozenset[str] = frozenset()
    policy: TenantPolicy = TenantPolicy()
    quota: Quota = Quota()

    def may(self, scope: Scope) -> bool:
        """Return whether the caller has a scope; `admin` has all of them."""
        return scope in self.scopes or "admin" in self.scopes


ANONYMOUS: Final = Caller(scopes=frozenset({"infer"}))
"""Everybody, where no access file is set: one machine, one user."""


def caller_of(scope: Mapping[str, Any]) -> Caller:
    """Return the caller of an ASGI connection; ANONYMOUS where nothing authenticates."""
    caller: Caller = scope.get(_KEY, ANONYMOUS)
    return caller


def with_caller(scope: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    """Return the ASGI scope of a connection whose caller is known."""
    return {**scope, _KEY: caller}
