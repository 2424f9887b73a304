from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from promethios_serving.access.access_file import AccessFile, key_hash
from promethios_serving.access.authenticate import Authenticate
from promethios_serving.access.caller import caller_of
from promethios_serving.route_allowlist import needed_scope

KEY, ENGINE_KEY = "pk-app", "pk-engine"


async def who(request: Request) -> JSONResponse:
    return JSONResponse({"key": caller_of(request.scope).key_id})


def client(access: AccessFile | None) -> TestClient:
    paths = ("/v1/chat/completions", "/health", "/v1/models")
    app = Starlette(routes=[Route(path, who, methods=["GET", "POST"]) for path in paths])
    return TestClient(Authenticate(app, access, needed_scope), raise_server_exceptions=True)


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> AccessFile:
    path = tmp_path_factory.mktemp("access") / "access.yaml"
    keys = [f"{{id: app, sha256: {key_hash(KEY)}, scopes: [infer]}}"]
    keys += [f"{{id: engine, sha256: {key_hash(ENGINE_KEY)}, scopes: [engine]}}"]
    path.write_text("keys:\n" + "".join(f"  - {key}\n" for key in keys), encoding="utf-8")
    return AccessFile(path)


@pytest.mark.parametrize(
    "headers", [{"authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}, {"x-api-key": KEY}]
)
def test_a_key_may_come_as_openai_and_as_anthropic_clients_send_it(access: AccessFile, headers: dict[str, str]) -> None:
    assert client(access).post("/v1/chat/completions", headers=headers).json() == {"key": "app"}


@pytest.mark.parametrize(
    ("headers", "status", "code", "kind"),
    [
        ({}, 401, "no_api_key", "authentication_error"),
        ({"authorization": "Bearer "}, 401, "no_api_key", "authentication_error"),
        ({"authorization": f"Basic {KEY}"}, 401, "no_api_key", "authentication_error"),
        ({"authorization": "Bearer pk-wrong"}, 401, "invalid_api_key", "authentication_error"),
        ({"authorization": f"Bearer {ENGINE_KEY}"}, 403, "missing_scope", "permission_error"),
    ],
)
def test_everybody_else_is_refused_in_openai_s_shape(
    access: AccessFile, headers: dict[str, str], status: int, code: str, kind: str
) -> None:
    reply = client(access).post("/v1/chat/completions", headers=headers)
    assert reply.status_code == status
    assert (reply.json()["error"]["code"], reply.json()["error"]["type"]) == (code, kind)
    assert KEY not in reply.text


def test_probes_need_no_key_and_models_do(access: AccessFile) -> None:
    assert client(access).get("/health").status_code == 200
    assert client(access).get("/v1/models").status_code == 401
    assert client(access).post("/health").status_code == 401


def test_without_an_access_file_everybody_is_anonymous() -> None:
    assert client(None).post("/v1/chat/completions").json() == {"key": None}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_no_header_whatever_its_bytes_gets_in_or_breaks_the_server(access: AccessFile, value: bytes) -> None:
    for name in ("authorization", "x-api-key"):
        reply = client(access).post("/v1/chat/completions", headers=[(name.encode(), value.replace(b"\0", b""))])
        assert reply.status_code == 401
