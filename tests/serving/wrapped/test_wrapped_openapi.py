"""Whatever wrapped mode's OpenAPI document allows, and much that it does not, is answered as the document says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import given

from promethios_serving.settings import Settings
from tests.openapi_fuzzing import CHECKS, fuzzing
from tests.serving.wrapped.conftest import GOOD_TELEMETRY
from tests.serving.wrapped.servers import mock_upstream, serving

ROUTES = {"/v1/chat/completions", "/v1/responses"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    telemetry: Path = tmp_path_factory.mktemp("telemetry") / "telemetry.yaml"
    telemetry.write_text(GOOD_TELEMETRY, encoding="utf-8")
    with mock_upstream() as mock, serving(Settings(upstream_url=mock.url, telemetry_file=telemetry)) as url:
        yield url


@pytest.fixture(scope="module")
def schema(url: str) -> Any:
    random.seed(0)
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


def test_the_document_has_the_routes_that_answer(schema: Any) -> None:
    pages = {"/health", "/metrics", "/v1/governance", "/v1/models", "/openapi.json"}
    assert set(schema.raw_schema["paths"]) == pages | ROUTES


def test_every_page_is_as_the_document_says(schema: Any, url: str) -> None:
    for path in schema.raw_schema["paths"].keys() - ROUTES:
        case = schema[path]["GET"].Case()
        case.call_and_validate(base_url=url, checks=CHECKS)


@pytest.mark.parametrize("route", sorted(ROUTES))
def test_every_answer_is_as_the_document_says(schema: Any, url: str, route: str) -> None:
    answered = 0

    @fuzzing(100)
    @given(case=schema[route]["POST"].as_strategy())
    def fuzzed(case: Any) -> None:
        nonlocal answered
        response = case.call(base_url=url, timeout=60)
        case.validate_response(response, checks=CHECKS)
        answered += response.status_code == 200
        assert response.status_code != 200 or response.headers["x-promethios-decision"], "answered, but ungoverned"

    fuzzed()
    assert answered >= 3, "hardly a request got through"
