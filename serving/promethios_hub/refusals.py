"""The hub's refusals, in the error shape of the whole product (promethios_serving.openai_errors)."""

from __future__ import annotations

from http import HTTPStatus

from promethios_serving.openai_errors import RequestRefused


def bad_request(message: str, param: str | None = None) -> RequestRefused:
    """400: the request is malformed or asks for what is not allowed."""
    return RequestRefused(HTTPStatus.BAD_REQUEST, "bad_request", message, param)


def not_found(message: str) -> RequestRefused:
    """404: there is no such thing, or not for this caller."""
    return RequestRefused(HTTPStatus.NOT_FOUND, "not_found", message)


def conflict(message: str) -> RequestRefused:
    """409: somebody else was faster."""
    return RequestRefused(HTTPStatus.CONFLICT, "conflict", message)


def forbidden(message: str) -> RequestRefused:
    """403: the caller may not do this."""
    return RequestRefused(HTTPStatus.FORBIDDEN, "not_allowed", message)
