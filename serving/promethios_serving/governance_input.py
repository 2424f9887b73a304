"""What a request says about its own governance: the body's `governance` field and some headers.

The field wins over the header, the header over the tenant's domain, that over the default domain. Where nobody names
one, the engine hook may ask the model's probe.

    {"messages": [...], "governance": {"domain": "healthcare", "subject": {"agent": "triage", "session": "s-17"},
                                       "telemetry": {"trust": 0.3} or "<gov:trust=0.3>"}}
    x-promethios-domain: healthcare            the same as the field, for clients that cannot add one
    x-promethios-agent, x-promethios-session   the same; the tenant is always the API key's
    x-promethios-telemetry: TOKEN              telemetry for this request, signed: see telemetry/signed.py
    x-promethios-telemetry-key: SECRET         without an access file: shows that the caller may speak for the telemetry
    x-request-id                               the name of the request: see request_id.py
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from promethios.errors import PromethiosError, nearest
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry import tags
from promethios.telemetry.state import GovernanceState
from promethios_serving import request_id
from promethios_serving.access.caller import ANONYMOUS, Caller
from promethios_serving.openai_errors import RequestRefused
from promethios_serving.request_context import DomainSource, GovernedRequest
from promethios_serving.reviews.conversation import plain_conversation
from promethios_serving.telemetry.signed import SignedTelemetry, refused
from promethios_serving.telemetry.subject import MAX_NAME, Subject

DOMAIN_HEADER: Final = "x-promethios-domain"
AGENT_HEADER: Final = "x-promethios-agent"
SESSION_HEADER: Final = "x-promethios-session"
TOKEN_HEADER: Final = "x-promethios-telemetry"
KEY_HEADER: Final = "x-promethios-telemetry-key"
_FIELDS: Final = ("domain", "subject", "telemetry")
_SUBJECT_FIELDS: Final = ("agent", "session")


@dataclass(frozen=True, slots=True, kw_only=True)
class GovernanceInput:
    """Reads the governance of requests, as the server's settings allow.

    default_domain: of a request that names none. telemetry_key: secret of callers that may send telemetry, where there
    is no access file. signed: checks signed telemetry; None when no keys are set.
    """

    default_domain: str | None = None
    telemetry_key: str | None = None
    signed: SignedTelemetry | None = None

    def request(
        self, route: str, body: dict[str, Any], headers: Mapping[str, str], caller: Caller = ANONYMOUS
    ) -> GovernedRequest:
        """Take `governance` out of a body and return the request's context.

        Raises RequestRefused: 400 for anything malformed, 401 for a bad token, 403 for what the caller may not do.
        """
        field = _object(body.pop("governance", None), "governance", _FIELDS, "bad_governance")
        subject = _subject(field.get("subject"), headers, caller)
        domain, source = self._domain(field.get("domain"), headers, caller)
        messages = plain_conversation(body)
        turned_away = None
        telemetry = self._telemetry(field.get("telemetry"), headers, caller)
        if (token := headers.get(TOKEN_HEADER)) is not None:
            if telemetry is not None:
                raise _bad("bad_telemetry", f"send `governance.telemetry` or {TOKEN_HEADER}, not both", TOKEN_HEADER)
            telemetry, subject, turned_away = self._signed(token, subject)
        return GovernedRequest(
            route=route,
            domain=domain,
            domain_source=source,
            telemetry=telemetry,
            caller=caller,
            subject=subject,
            client_request_id=headers.get(request_id.HEADER),
            messages=messages,
            turned_away=turned_away,
        )

    def _domain(self, named: Any, headers: Mapping[str, str], caller: Caller) -> tuple[str | None, DomainSource | None]:
        """Return the domain and who named it. Raises RequestRefused.

        A tenant with a list of domains has one of them or is refused, so that no guess about a text can open another.
        """
        candidates: tuple[tuple[Any, DomainSource], ...] = (
            (headers.get(DOMAIN_HEADER) if named in (None, "") else named, "request"),
            (caller.policy.domain, "key"),
            (self.default_domain, "default"),
        )
        given, source = next(((name, source) for name, source in candidates if name not in (None, "")), (None, None))
        domain = _domain(given)
        allowed = caller.policy.domains
        if allowed and domain not in allowed:
            message = f"the domain {domain!r} is not open to this API key; allowed: {', '.join(sorted(allowed))}"
            raise RequestRefused(HTTPStatus.FORBIDDEN, "domain_not_allowed", message, "governance.domain")
        return domain, source

    def _telemetry(self, plain: Any, headers: Mapping[str, str], caller: Caller) -> GovernanceState | None:
        if plain is None:
            return None
        if caller.key_id is None:
            _require_key(headers.get(KEY_HEADER, ""), self.telemetry_key)
        elif not caller.may("telemetry"):
            raise _untrusted(f"the API key {caller.key_id!r} lacks the scope `telemetry`")
        try:
            return tags.parse(plain) if isinstance(plain, str) else GovernanceState.from_mapping(plain, now=time.time())
        except PromethiosError as error:
            raise _bad("bad_telemetry", str(error), "governance.telemetry") from None

    def _signed(self, token: str, subject: Subject) -> tuple[GovernanceState, Subject, Callable[[], None]]:
        """Return a token's telemetry, the subject with the names that the token adds, and what gives the token back.

        Raises RequestRefused.
        """
        if self.signed is None:
            message = "this server takes no signed telemetry; its operator may set PROMETHIOS_TELEMETRY_JWT_KEYS"
            raise refused("no_keys", message, HTTPStatus.FORBIDDEN)
        said = self.signed.verified(token)
        give_back = partial(self.signed.give_back, said.token)
        asked, about = subject.to_mapping(), said.subject.to_mapping()
        for name, value in about.items():
            if value is not None and asked[name] != value and (asked[name] is not None or name == "tenant"):
                give_back()
                message = f"the token is about another {name} than the request's"
                raise refused("subject", message, HTTPStatus.FORBIDDEN)
        subject = Subject(**{name: asked[name] or about[name] for name in asked})
        return said.state, subject, give_back


def _object(value: Any, name: str, allowed: tuple[str, ...], reason: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _bad(reason, f"`{name}` must be an object, got {type(value).__name__}", name)
    for key in value:
        if key not in allowed:
            raise _bad(reason, f"`{name}` has no field {key!r}{nearest(key, allowed)}", name)
    return value


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


def _subject(plain: Any, headers: Mapping[str, str], caller: Caller) -> Subject:
    field = _object(plain, "governance.subject", _SUBJECT_FIELDS, "bad_subject")
    names = {
        "agent": field.get("agent", headers.get(AGENT_HEADER)),
        "session": field.get("session", headers.get(SESSION_HEADER)),
    }
    for name, value in names.items():
        is_name = isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isprintable()
        if value is not None and not is_name:
            message = f"the {name} {value!r:.80} must be a text of 1 to {MAX_NAME} printable characters"
            raise _bad("bad_subject", message, f"governance.subject.{name}")
    return Subject(tenant=caller.tenant, **names)


def _require_key(given: str, key: str | None) -> None:
    if key is None:
        raise _untrusted(
            "this server takes no telemetry from requests; its operator may allow it with PROMETHIOS_TELEMETRY_KEY"
        )
    if not hmac.compare_digest(given.encode(), key.encode()):
        raise _untrusted(f"telemetry is taken from trusted callers only; the header {KEY_HEADER} is missing or wrong")


def _untrusted(message: str) -> RequestRefused:
    return RequestRefused(HTTPStatus.FORBIDDEN, "untrusted_telemetry", message, "governance.telemetry")


def _bad(reason: str, message: str, param: str) -> RequestRefused:
    return RequestRefused(HTTPStatus.BAD_REQUEST, reason, message, param)
