"""The OpenAPI document of a governed server (`/openapi.json`): another server's, told as it is behind the wrapper.

Closed routes are left out; governed ones have the `governance` field, its headers and the refusals. OpenAPI 3.1.
The engine's is made from vLLM's own, which `/docs` shows; the one of wrapped mode says what every upstream has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from copy import deepcopy
from http import HTTPStatus
from typing import Any, Final, get_args

from promethios import __version__
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.header import DECISIONS, SCORE_NAMES
from promethios.telemetry.state import CHANNELS, Channel
from promethios_serving import governance_input, request_id
from promethios_serving.governance_response import DECISION_HEADER, DECISION_ID_HEADER
from promethios_serving.request_context import DomainSource
from promethios_serving.route_allowlist import CHAT_ROUTE, GOVERNED_ROUTES, RESPONSES_ROUTE, is_open
from promethios_serving.telemetry.subject import MAX_NAME

Schema = dict[str, Any]

_REFUSED: Final = (400, 401, 403, 404, 408, 413, 422, 429, 431, 500, 501, 503, 504)
_REFUSED_GET: Final = (401, 403, 404, 431, 503)
_SHARE: Final = {"type": "number", "minimum": 0, "maximum": 1}
_INPUT: Final = "GovernanceInput"
_OUTPUT: Final = "Governance"
_ERROR: Final = "Refusal"
_KEY: Final = "ApiKey"
_HEADERS: Final = {
    governance_input.AGENT_HEADER: "The same as `governance.subject.agent`.",
    governance_input.SESSION_HEADER: "The same as `governance.subject.session`.",
    governance_input.TOKEN_HEADER: "Telemetry for this request as a JWT, signed by a trusted caller.",
    governance_input.KEY_HEADER: "Without an access file: shows that the caller may speak for the telemetry.",
    request_id.HEADER: "Name of the request, in reply, logs and review; a new one where there is none.",
}
_UPSTREAM_REFUSED: Final = (400, 409, 413, 415, 422, 429, 502, 504)
"""What an upstream may answer, and what is said when it answers nothing of use."""


def wrapped_document(pages: Collection[str]) -> dict[str, Any]:
    """Return the document of wrapped mode. pages: the routes that only tell of the server."""
    bodies = {CHAT_ROUTE: ("ChatCompletionRequest", _chat()), RESPONSES_ROUTE: ("ResponsesRequest", _responses())}
    paths: dict[str, Any] = {
        page: {"get": {"responses": {"200": {"description": "Successful Response", "content": _page(page)}}}}
        for page in sorted(pages)
    }
    for route, (name, _) in bodies.items():
        formats: dict[str, Any] = {"application/json": {}, "text/event-stream": {}}
        body = {"required": True, "content": {"application/json": {"schema": _ref(name)}}}
        answer = {"description": "JSON, or server-sent events", "content": formats}
        summary = "Governed; what else the upstream understands goes on to it"
        paths[route] = {"post": {"summary": summary, "requestBody": body, "responses": {"200": answer}}}
    components = {"schemas": dict(bodies.values())}
    return governed_document({"openapi": "3.1.0", "paths": paths, "components": components}, _UPSTREAM_REFUSED)


def _chat() -> Schema:
    message = _object(role={"type": "string"}, content={"type": ["string", "array", "null"]})
    message |= {"additionalProperties": True, "required": ["role"]}
    return _body("messages", messages={"type": "array", "minItems": 1, "items": message})


def _responses() -> Schema:
    items = {"type": "array", "minItems": 1, "items": {"type": "object"}}
    said = {"anyOf": [{"type": "string", "minLength": 1}, items]}
    return _body("input", input=said, instructions={"type": ["string", "null"]})


def _body(asked: str, **properties: Schema) -> Schema:
    of_every: Schema = {"model": {"type": "string"}, "stream": {"type": ["boolean", "null"]}}
    return {**_object(**of_every, **properties), "additionalProperties": True, "required": [asked]}


def _page(path: str) -> dict[str, Any]:
    return {"text/plain" if path == "/metrics" else "application/json": {}}


def governed_document(document: dict[str, Any], refusals: Iterable[int] = ()) -> dict[str, Any]:
    """Return the document of the governed server. document: of vLLM's application with the wrapper's routes.

    refusals: statuses of refusals, beside those of every governed server.
    """
    document = deepcopy(document)
    paths: dict[str, dict[str, Any]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if is_open(method.upper(), path):
                paths.setdefault(path, {})[method] = _refusing(
                    operation, {*(_REFUSED_GET if method == "get" else _REFUSED), *refusals}
                )
    components = document.setdefault("components", {})
    components["schemas"] = {**components.get("schemas", {}), **_schemas()}
    components["securitySchemes"] = {_KEY: {"type": "http", "scheme": "bearer"}}
    for path in GOVERNED_ROUTES & paths.keys():
        _govern(paths[path]["post"], components["schemas"])
    title = "Promethios: a governed OpenAI-compatible server"
    return {**document, "info": {"title": title, "version": __version__}, "paths": paths}


def _refusing(operation: dict[str, Any], statuses: Iterable[int]) -> dict[str, Any]:
    """Return an operation with the refusals that it may meet, all of one shape; a server may ask for a key."""
    answers = {status: reply for status, reply in operation["responses"].items() if status.startswith("2")}
    content = {"application/json": {"schema": _ref(_ERROR)}}
    refusals = {
        str(status): {"description": HTTPStatus(status).phrase, "content": content} for status in sorted(statuses)
    }
    return {**operation, "responses": {**answers, **refusals}, "security": [{}, {_KEY: []}]}


def _govern(operation: dict[str, Any], schemas: dict[str, Schema]) -> None:
    """Add to a governed operation, and to the schema of its body, what governance takes and gives."""
    asked = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    schemas[asked]["properties"]["governance"] = _ref(_INPUT)
    domain = {"enum": list(load_ontology().domains)}
    operation["parameters"] = [
        _header(governance_input.DOMAIN_HEADER, "The same as `governance.domain`.", domain),
        *(_header(name, said, {"type": "string"}) for name, said in _HEADERS.items()),
    ]
    answer = operation["responses"]["200"]
    answer["content"]["application/json"]["schema"] = {
        "type": "object",
        "properties": {"governance": _ref(_OUTPUT)},
        "description": "The interface's own answer, and the decision that it was given under.",
    }
    answer["headers"] = {
        DECISION_HEADER: {"schema": {"enum": list(DECISIONS)}},
        DECISION_ID_HEADER: {"schema": {"type": "string"}},
        request_id.HEADER: {"schema": {"type": "string"}},
    }


def _header(name: str, description: str, schema: Schema) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


def _schemas() -> dict[str, Schema]:
    domains = list(load_ontology().domains)
    name = {"type": ["string", "null"], "minLength": 1, "maxLength": MAX_NAME}
    return {
        _INPUT: _or_null(
            _object(
                domain={"enum": [*domains, None], "description": "Domain of the request."},
                subject=_or_null(_object(agent=name, session=name)),
                telemetry={
                    "anyOf": [
                        _object(**{channel.name: _reading(channel) for channel in CHANNELS}),
                        {"type": "string", "description": "<gov:...> tags", "examples": ["<gov:trust=0.3>"]},
                        {"type": "null"},
                    ],
                    "description": "Telemetry of this request; needs a caller that may speak for it.",
                },
            )
        ),
        _OUTPUT: {
            **_object(
                id={"type": "string"},
                decision={"enum": list(DECISIONS)},
                review_id={"type": ["string", "null"], "description": "Review that was opened for it at the hub."},
                certified={"const": False, "description": "There when no certificate covers the decision."},
                self_questions={"type": "integer", "minimum": 1},
                probability={**_or_null(_SHARE), "description": "Calibrated probability of escalation."},
                threshold={**_or_null(_SHARE), "description": "From here on it escalates."},
                degraded={"type": "boolean"},
                degraded_channels={"type": "array", "items": {"enum": [channel.name for channel in CHANNELS]}},
                forced={"type": "boolean", "description": "More careful than the model, by the tenant's policy."},
                domain={"enum": [*domains, None]},
                domain_source={"enum": [*get_args(DomainSource), None]},
                scores=_object(**{score: {"type": "number"} for score in SCORE_NAMES}),
                probabilities={"type": "array", "items": _SHARE},
                principles={"type": ["object", "null"], "additionalProperties": _SHARE},
            ),
            "required": ["id", "decision", "review_id"],
        },
        _ERROR: {
            "type": "object",
            "properties": {
                "error": {
                    "type": "object",
                    "properties": {
                        "message": {"type": "string"},
                        "type": {"type": "string"},
                        "param": {"type": ["string", "null"]},
                        "code": {"type": ["string", "integer", "null"]},
                    },
                    "required": ["message", "type"],
                }
            },
            "required": ["error"],
        },
    }


def _reading(channel: Channel) -> Schema:
    value: Schema = {"enum": list(channel.values)} if channel.values else _SHARE
    at = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number", "description": "Unix seconds"}]}
    timed = _object(value=value, age_s={"type": "number", "minimum": 0}, at=at)
    timed |= {"required": ["value"], "not": {"required": ["age_s", "at"]}}
    return {"anyOf": [value, timed, {"type": "null"}], "description": channel.description}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
