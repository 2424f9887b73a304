"""A request that is refused, and the reply it gets: OpenAI's error shape, so that every client can show the reason."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

from starlette.types import Send

from promethios_serving import metrics

_TYPES: Final = {
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.NOT_FOUND: "not_found_error",
    HTTPStatus.SERVICE_UNAVAILABLE: "service_unavailable_error",
}


class RequestRefused(Exception):
    """A request that gets no answer.

    status: of the HTTP reply. reason: short code for the metric's label and the reply's `code`. param: the request
    field at fault, if one is.
    """

    def __init__(self, status: HTTPStatus, reason: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.param = param

    def body(self) -> bytes:
        """Return the reply's JSON body."""
        error = {
            "message": self.message,
            "type": _TYPES.get(self.status, "invalid_request_error"),
            "param": self.param,
            "code": self.reason,
        }
        return json.dumps({"error": error}).encode()


async def send_refusal(send: Send, refusal: RequestRefused) -> None:
    """Send a refusal as the whole HTTP response, and count it."""
    metrics.REFUSED_REQUESTS.labels(reason=refusal.reason).inc()
    body = refusal.body()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": int(refusal.status), "headers": headers})
    await send({"type": "http.response.body", "body": body})
