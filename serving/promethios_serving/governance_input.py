"""What a request says about its own governance: the body's `governance` field and two headers.

The field wins over the header, the header over the default domain.

    {"messages": [...], "governance": {"domain": "healthcare", "telemetry": {"trust": 0.3} or "<gov:trust=0.3>"}}
    x-promethios-domain: healthcare            the same as the field, for clients that cannot add one
    x-promethios-telemetry-key: SECRET         shows that the caller may speak for the telemetry
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from promethios.errors import PromethiosError, nearest
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry import tags
from promethios.telemetry.state import GovernanceState
from promethios_serving.access.caller import ANONYMOUS, Caller
from promethios_serving.openai_errors import RequestRefused
from promethios_serving.request_context import GovernedRequest

DOMAIN_HEADER: Final = "x-promethios-domain"
KEY_HEADER: Final = "x-promethios-telemetry-key"
_FIELDS: Final = ("domain", "telemetry")


def governed_request(
    route: str,
    field: Any,
    headers: Mapping[str, str],
    *,
    default_domain: str | None,
    telemetry_key: str | None,
    caller: Caller = ANONYMOUS,
) -> GovernedRequest:
    """Build the request's context from its `governance` field (None when absent) and headers.

    The domain is the field's, else the header's, else the tenant's, else the server's default. Raises RequestRefused:
    400 for anything malformed, 403 for telemetry from a caller that may not send it, and for a domain that the tenant
    does not have.
    """
    if field is None:
        field = {}
    if not isinstance(field, dict):
        raise _bad("bad_governance", f"`governance` must be an object, got {type(field).__name__}", "governance")
    for name in field:
        if name not in _FIELDS:
            raise _bad("bad_governance", f"`governance` has no field {name!r}{nearest(name, _FIELDS)}", "governance")
    domain = _domain(field.get("domain") or headers.get(DOMAIN_HEADER) or caller.policy.domain or default_domain)
    _require_domain(domain, caller)
    telemetry = field.get("telemetry")
    if telemetry is None:
        return GovernedRequest(route=route, domain=domain, caller=caller)
    if not caller.may("telemetry"):
        _require_key(headers.get(KEY_HEADER, ""), telemetry_key)
    return GovernedRequest(route=route, domain=domain, caller=caller, telemetry=_telemetry(telemetry))


def _domain(name: Any) -> str | None:
    if name is None:
        return None
    if not isinstance(name, str):
        raise _bad("bad_domain", f"`governance.domain` must be a text, got {name!r}", "governance.domain")
    try:
        load_ontology().domain(name)
    except PromethiosError as error:
        raise _bad("bad_domain", str(error), "governance.domain") from None
    return name


def _require_domain(domain: str | None, caller: Caller) -> None:
    allowed = caller.policy.domains
    if allowed and domain not in allowed:
        named = f"the domain {domain!r} is" if domain else "no domain is"
        message = f"{named} not for tenant {caller.tenant!r}; allowed: {', '.join(sorted(allowed))}"
        raise RequestRefused(HTTPStatus.FORBIDDEN, "domain_not_allowed", message, "governance.domain")


def _telemetry(plain: Any) -> GovernanceState:
    try:
        return tags.parse(plain) if isinstance(plain, str) else GovernanceState.from_mapping(plain, now=time.time())
    except PromethiosError as error:
        raise _bad("bad_telemetry", str(error), "governance.telemetry") from None


def _require_key(given: str, key: str | None) -> None:
    if key is None:
        message = (
            "this caller may not send telemetry; the server's operator allows it with the scope `telemetry` of an API "
            "key, or with PROMETHIOS_TELEMETRY_KEY where there is no access file"
        )
    elif not hmac.compare_digest(given.encode(), key.encode()):
        message = f"telemetry is taken from trusted callers only; the header {KEY_HEADER} is missing or wrong"
    else:
        return
    raise RequestRefused(HTTPStatus.FORBIDDEN, "untrusted_telemetry", message, "governance.telemetry")


def _bad(reason: str, message: str, param: str) -> RequestRefused:
    return RequestRefused(HTTPStatus.BAD_REQUEST, reason, message, param)
