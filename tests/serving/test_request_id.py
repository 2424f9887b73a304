from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest

from promethios_serving.openai_errors import RequestRefused, send_refusal
from promethios_serving.request_id import RequestId

Call = Callable[..., Any]


async def show(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the ids that the application sees, and with an id of its own."""
    seen = b",".join(value for name, value in scope["headers"] if name == b"x-request-id")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-request-id", b"its own")]})
    await send({"type": "http.response.body", "body": seen})


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    await send_refusal(send, RequestRefused(HTTPStatus.UNAUTHORIZED, "no_api_key", "who?"))


def test_a_client_s_id_is_everybody_s(call: Call) -> None:
    reply = call(RequestId(show), headers={"x-request-id": "req-7"})
    assert reply.headers["x-request-id"] == reply.body.decode() == "req-7"


@pytest.mark.parametrize("given", [None, "", "x" * 129, "two words", "a\x01b", "Ünicode"])
def test_without_a_plain_one_each_request_gets_its_own(call: Call, given: str | None) -> None:
    headers = {} if given is None else {"x-request-id": given}
    made = [call(RequestId(show), headers=headers) for _ in range(2)]
    assert all(len(reply.body) == 32 and reply.headers["x-request-id"] == reply.body.decode() for reply in made)
    assert made[0].body != made[1].body


def test_a_refusal_names_it_too(call: Call) -> None:
    assert call(RequestId(refuse), headers={"x-request-id": "req-7"}).headers["x-request-id"] == "req-7"
