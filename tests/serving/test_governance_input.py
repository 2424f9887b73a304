from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from promethios.telemetry.state import GovernanceState
from promethios_serving.access.caller import ANONYMOUS, Caller, TenantPolicy
from promethios_serving.governance_input import GovernanceInput
from promethios_serving.openai_errors import RequestRefused
from promethios_serving.request_context import GovernedRequest
from promethios_serving.telemetry.signed import SignedTelemetry
from promethios_serving.telemetry.subject import Subject

ACME = Caller(
    key_id="acme-app",
    tenant="acme",
    scopes=frozenset({"infer"}),
    policy=TenantPolicy(domain="healthcare", domains=frozenset({"healthcare", "legal"})),
)
TRUSTED = Caller(key_id="gateway", tenant="acme", scopes=frozenset({"infer", "telemetry"}))
SECRET = "a secret that is long enough for HMAC-SHA-256"


@pytest.fixture
def signed(tmp_path: Path) -> SignedTelemetry:
    key = json.loads(jwt.get_algorithm_by_name("HS256").to_jwk(SECRET.encode()))
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [{**key, "kid": "gateway", "alg": "HS256"}]}), encoding="utf-8")
    return SignedTelemetry(path)


def token(**changes: Any) -> str:
    now = time.time()
    claims = {"aud": "promethios", "iat": now, "exp": now + 30, "jti": str(now), "telemetry": {"trust": 0.3}}
    return jwt.encode({**claims, **changes}, SECRET, "HS256", headers={"kid": "gateway"})


def read(
    field: Any = None,
    headers: dict[str, str] | None = None,
    caller: Caller = ANONYMOUS,
    signed: SignedTelemetry | None = None,
    **body: Any,
) -> GovernedRequest:
    content = body if field is None else {**body, "governance": field}
    settings = GovernanceInput(default_domain="general", telemetry_key="secret", signed=signed)
    return settings.request("/v1/chat/completions", content, Headers(headers or {}), caller)


def refused(status: int, code: str, **given: Any) -> str:
    with pytest.raises(RequestRefused) as refusal:
        read(**given)
    assert (refusal.value.status, refusal.value.reason) == (status, code)
    return refusal.value.message


def test_the_domain_is_the_field_s_the_header_s_the_tenant_s_or_the_default_one() -> None:
    header = {"x-promethios-domain": "legal"}
    requests = [read({"domain": "healthcare"}, header, ACME), read(None, header, ACME)]
    requests += [read(None, {}, ACME), read(None, {}, TRUSTED)]
    assert [(request.domain, request.domain_source) for request in requests] == [
        ("healthcare", "request"),
        ("legal", "request"),
        ("healthcare", "key"),
        ("general", "default"),
    ]


def test_a_request_that_nobody_gives_a_domain_has_none_and_is_refused_where_the_tenant_has_a_list() -> None:
    nobody = GovernanceInput().request("/v1/completions", {}, Headers({}), TRUSTED)
    assert (nobody.domain, nobody.domain_source) == (None, None)
    listed = replace(ACME, policy=replace(ACME.policy, domain=None))
    with pytest.raises(RequestRefused, match="healthcare, legal") as refusal:
        GovernanceInput().request("/v1/completions", {}, Headers({}), listed)
    assert refusal.value.reason == "domain_not_allowed", "no guess about its text could open another domain to it"


@pytest.mark.parametrize("given", [{"field": {"domain": "finance"}}, {"headers": {"x-promethios-domain": "finance"}}])
def test_a_tenant_has_its_own_domains_only(given: Any) -> None:
    assert "healthcare, legal" in refused(403, "domain_not_allowed", caller=ACME, **given)


def test_the_subject_is_named_in_the_field_or_in_headers_and_its_tenant_is_the_key_s() -> None:
    headers = {"x-promethios-agent": "triage", "x-promethios-session": "s-1"}
    assert read(None, headers, ACME).subject == Subject(tenant="acme", agent="triage", session="s-1")
    assert read({"subject": {"session": "s-2"}}, headers, ACME).subject == Subject(
        tenant="acme", agent="triage", session="s-2"
    )
    assert read().subject == Subject()


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        ("s-1", "must be an object"),
        ({"tenant": "other"}, "has no field 'tenant'"),
        ({"session": ""}, "1 to 128"),
        ({"session": "x" * 129}, "1 to 128"),
        ({"session": "a\nb"}, "printable"),
        ({"agent": 7}, "printable"),
    ],
)
def test_a_malformed_subject_is_refused(subject: Any, said: str) -> None:
    assert said in refused(400, "bad_subject", field={"subject": subject})


def test_with_an_access_file_the_scope_decides_who_speaks_for_the_telemetry() -> None:
    field = {"telemetry": {"trust": 0.3}}
    assert read(field, {}, TRUSTED).telemetry == GovernanceState.of(trust=0.3)
    message = refused(
        403, "untrusted_telemetry", field=field, caller=ACME, headers={"x-promethios-telemetry-key": "secret"}
    )
    assert "scope `telemetry`" in message


def test_signed_telemetry_is_taken_from_anybody_who_carries_it(signed: SignedTelemetry) -> None:
    request = read(None, {"x-promethios-telemetry": token()}, ACME, signed)
    assert request.telemetry is not None and request.telemetry.trust is not None
    assert request.telemetry.trust.value == 0.3


def test_a_token_adds_its_subject_and_may_not_be_about_somebody_else(signed: SignedTelemetry) -> None:
    about = {"tenant": "acme", "session": "s-1"}
    request = read(None, {"x-promethios-telemetry": token(subject=about)}, ACME, signed)
    assert request.subject == Subject(tenant="acme", session="s-1")
    for headers, caller in (({"x-promethios-session": "s-2"}, ACME), ({}, ANONYMOUS)):
        headers["x-promethios-telemetry"] = token(subject=about)
        assert "another" in refused(403, "bad_telemetry_token", headers=headers, caller=caller, signed=signed)
        rightful = {"x-promethios-telemetry": headers["x-promethios-telemetry"]}
        assert read(None, rightful, ACME, signed).subject.session == "s-1", "who it is about still has it"


def test_a_request_that_is_turned_away_undecided_may_come_again_with_its_token(signed: SignedTelemetry) -> None:
    headers = {"x-promethios-telemetry": token()}
    refused(403, "domain_not_allowed", field={"domain": "finance"}, headers=headers, caller=ACME, signed=signed)
    first = read(None, headers, ACME, signed)
    assert "used before" in refused(403, "bad_telemetry_token", headers=headers, caller=ACME, signed=signed)
    assert first.turned_away is not None
    first.turned_away()
    assert read(None, headers, ACME, signed).telemetry is not None
    assert "used before" in refused(403, "bad_telemetry_token", headers=headers, caller=ACME, signed=signed)


@pytest.mark.parametrize("domain", [[], {}, 0, False])
def test_a_domain_that_is_no_text_is_refused_and_not_taken_for_none(domain: Any) -> None:
    assert "must be a text" in refused(400, "bad_domain", field={"domain": domain})


def test_a_token_is_refused_where_none_is_wanted_or_the_body_says_another_thing(signed: SignedTelemetry) -> None:
    header = {"x-promethios-telemetry": token()}
    assert "PROMETHIOS_TELEMETRY_JWT_KEYS" in refused(403, "bad_telemetry_token", headers=header)
    field = {"telemetry": {"trust": 1.0}}
    assert "not both" in refused(400, "bad_telemetry", field=field, headers=header, caller=TRUSTED, signed=signed)


def test_the_request_keeps_the_id_that_the_server_goes_by() -> None:
    assert read(None, {"x-request-id": "req-7"}).client_request_id == "req-7"


def test_the_conversation_is_kept_for_reviewers() -> None:
    request = read({"domain": "legal"}, messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}])
    assert request.messages == [{"role": "user", "content": "Hi"}]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
FIELDS = st.dictionaries(st.sampled_from(["domain", "subject", "telemetry"]), JSON) | JSON
HEADERS = st.dictionaries(
    st.sampled_from(
        ["x-promethios-domain", "x-promethios-agent", "x-promethios-session", "x-promethios-telemetry", "x-request-id"]
    ),
    st.text(st.characters(max_codepoint=255), max_size=40),
)


@given(FIELDS, HEADERS, st.sampled_from([ANONYMOUS, ACME, TRUSTED]))
def test_whatever_comes_is_read_or_refused(field: Any, headers: dict[str, str], caller: Caller) -> None:
    try:
        request = read(field, headers, caller)
    except RequestRefused as refusal:
        assert 400 <= refusal.status < 500
    else:
        assert request.subject.tenant == caller.tenant
        assert request.telemetry is None or caller is TRUSTED
