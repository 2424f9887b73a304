"""A request that is refused, and the reply it gets: OpenAI's error shape, so that every client can show the reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from starlette.types import Send

from promethios_serving import metrics

_TYPES: Final = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.NOT_FOUND: "not_found_error",
    HTTPStatus.CONFLICT: "conflict_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
    HTTPStatus.BAD_GATEWAY: "server_error",
    HTTPStatus.SERVICE_UNAVAILABLE: "service_unavailable_error",
    HTTPStatus.GATEWAY_TIMEOUT: "server_error",
}


class RequestRefused(Exception):
    """A request that gets no answer.

    status: of the HTTP reply. reason: short code for the metric's label and the reply's `code`. param: the request
    field at fault, if one is. headers: more of the reply, such as `retry-after`.
    """

    def __init__(
        self,
        status: HTTPStatus,
        reason: str,
        message: str,
        param: str | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.param = param
        self.headers = headers

    def body(self) -> bytes:
        """Return the reply's JSON body."""
        error = {
            "message": self.message,
            "type": _TYPES.get(self.status, "invalid_request_error"),
            "param": self.param,
            "code": self.reason,
        }
        return json.dumps({"error": error}).encode()


async def send_refusal(send: Send, refusal: RequestRefused, *, counted: bool = True) -> None:
    """Send a refusal as the whole HTTP response, and count it unless it is no client's."""
    if counted:
        metrics.REFUSED_REQUESTS.labels(reason=refusal.reason).inc()
    body = refusal.body()
    own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers = [*own, *refusal.headers]
    await send({"type": "http.response.start", "status": int(refusal.status), "headers": headers})
    await send({"type": "http.response.body", "body": body})
