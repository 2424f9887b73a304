"""Whatever the OpenAPI document allows, and much that it does not, the real server answers as the document says."""

from __future__ import annotations

import random
import urllib.request
from typing import Any

import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from promethios_serving.governance_response import governance_field
from promethios_serving.openapi_document import governed_document
from promethios_serving.request_context import GovernedRequest, Outcome
from promethios_serving.route_allowlist import GOVERNED_ROUTES, OPEN_POST_ROUTES
from tests.openapi_fuzzing import CHECKS, fuzzing
from tests.serving.conftest import TELEMETRY_KEY

pytestmark = pytest.mark.integration
MESSAGES = {"messages": [{"role": "user", "content": "May I take it with milk?"}]}
SOUND = {
    "/v1/chat/completions": MESSAGES,
    "/v1/messages": MESSAGES,
    "/v1/messages/count_tokens": MESSAGES,
    "/v1/completions": {"prompt": "May I take it with milk?"},
    "/v1/responses": {"input": "May I take it with milk?"},
}
"""What half of the fuzzed requests ask, so that their other fields get as far as the engine."""
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "n")
LONGEST = 4
"""The most that a fuzzed request may ask for: its answer is not what is looked at."""


@pytest.fixture(scope="module")
def schema(server: Any) -> Any:
    random.seed(0)
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def test_the_document_has_the_open_routes_alone(schema: Any) -> None:
    paths = schema.raw_schema["paths"]
    assert {path for path, operations in paths.items() if "post" in operations} == OPEN_POST_ROUTES
    assert "/v1/governance" in paths and "get" not in paths["/v1/chat/completions"]
    assert schema.raw_schema["info"]["title"].startswith("Promethios")


def test_what_a_client_may_see_of_a_decision_is_in_the_document() -> None:
    request = GovernedRequest(route="/v1/responses")
    request.outcome = Outcome(decision="answer", probability=0.1, threshold=0.4, degraded=False, certified=False)
    request.self_questions.append("why?")
    field = governance_field(request, "scores")
    assert field is not None
    described = governed_document({"paths": {}})["components"]["schemas"]["Governance"]
    assert set(described["properties"]) == set(field)


def refusals(server: Any) -> float:
    """How many requests the server's metrics say were refused: by the wrapper, and by vLLM."""
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=60) as page:
        families = list(text_string_to_metric_families(page.read().decode()))
    samples = [sample for family in families for sample in family.samples]
    return sum(
        sample.value
        for sample in samples
        if sample.name in ("promethios_refused_requests_total", "promethios_unauthorized_requests_total")
        or (sample.name == "http_requests_total" and sample.labels["status"] in ("4xx", "5xx"))
    )


@pytest.mark.parametrize("route", sorted(OPEN_POST_ROUTES))
def test_every_answer_is_one_that_the_document_describes(schema: Any, server: Any, route: str) -> None:
    answered = refused = 0
    counted = refusals(server)

    @fuzzing(80)
    @given(case=schema[route]["POST"].as_strategy(), is_sound=st.booleans())
    def fuzzed(case: Any, is_sound: bool) -> None:
        nonlocal answered, refused
        if isinstance(case.body, dict):
            if is_sound:  # but for two of the fields, so that it gets through often enough
                case.body = {**dict(list(case.body.items())[:2]), "model": "promethios", **SOUND.get(route, {})}
                case.headers = {}
            if route in GOVERNED_ROUTES:
                case.body.setdefault("max_output_tokens" if route == "/v1/responses" else "max_tokens", LONGEST)
            asked = {name: case.body.get(name) for name in LIMITS}
            case.body |= {name: LONGEST for name, value in asked.items() if isinstance(value, int) and value > LONGEST}
        if case.headers and case.headers.pop("x-promethios-telemetry", None):  # forged ones have their own tests
            case.headers["x-promethios-telemetry-key"] = TELEMETRY_KEY
        response = case.call(base_url=server.url, timeout=120)
        case.validate_response(response, checks=CHECKS)
        answered += response.status_code == 200
        refused += response.status_code >= 400
        if response.status_code == 200 and route in GOVERNED_ROUTES:
            assert response.headers["x-promethios-decision"], "answered, but ungoverned"

    fuzzed()
    assert answered >= 3, "hardly a request got through"
    assert refusals(server) - counted >= refused, "by the wrapper or, behind it, by vLLM"
    assert "Traceback" not in server.log.read_text(encoding="utf-8"), "a client's mistake is no defect of the server"
