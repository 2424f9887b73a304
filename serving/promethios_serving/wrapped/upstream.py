"""One OpenAI-compatible server, asked over kept-alive connections; its failures become refusals in OpenAI's shape.

A request is sent again, once, only where that is safe: the upstream took no connection, or closed one before the first
byte of a reply, as servers do with kept-alive connections that were idle. After a timeout or a status nothing is sent
again: the upstream may have worked, and would be paid twice.
"""

from __future__ import annotations

import json
import os
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from promethios_serving.openai_errors import RequestRefused

UPSTREAM: Final = "promethios.upstream"
"""Key of a request's ASGI scope: the Upstream that answers it."""
CHAT: Final = "/chat/completions"
RESPONSES: Final = "/responses"
"""Paths behind an upstream's URL."""
CONNECT_TIMEOUT_S: Final = 5.0
_CLIENTS_MISTAKE: Final = frozenset({400, 404, 409, 413, 415, 422, 429})
"""Statuses that speak about the client's own request and are passed on; a 401 speaks about this server's key."""
_MAX_ERROR_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class UpstreamAddress:
    """Where an upstream is. url: up to and with `/v1`. model: put in place of the client's, None to keep it."""

    url: str
    model: str | None = None
    key: str | None = None


def open_session(timeout_s: float) -> aiohttp.ClientSession:
    """Return the HTTP client of a server; timeout_s: longest silence of an upstream, in seconds."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=timeout_s),
        headers={"accept-encoding": "identity"},
        skip_auto_headers=("user-agent",),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


class Upstream:
    """An upstream server."""

    def __init__(self, address: UpstreamAddress, session: aiohttp.ClientSession) -> None:
        self.address = address
        self._session = session
        self._proxy = _proxy_for(address.url)
        self._headers = {"content-type": "application/json"}
        if address.key:
            self._headers["authorization"] = f"Bearer {address.key}"

    @asynccontextmanager
    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a JSON text to a path behind the URL; yields the reply when its status is 200. Raises RequestRefused.

        headers: beside the upstream's own.
        """
        response = await self._open("POST", path, body, headers)
        try:
            if response.status != HTTPStatus.OK:
                raise await _refusal(response)
            yield response
        finally:
            response.close()  # drops the connection unless the reply was read to its end: the upstream stops working

    async def get_json(self, path: str) -> Any:
        """Return the plain data behind a path. Raises RequestRefused."""
        response = await self._open("GET", path)
        try:
            if response.status != HTTPStatus.OK:
                raise await _refusal(response)
            return json.loads(await read_reply(response))
        except (ValueError, RecursionError):
            raise _bad_gateway("upstream_garbage", "the upstream's reply is not JSON") from None
        finally:
            response.close()

    async def _open(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> aiohttp.ClientResponse:
        url, sent = self.address.url + path, {**(headers or {}), **self._headers}
        for is_last_try in (False, True):
            try:
                return await self._session.request(
                    method, url, data=body, headers=sent, allow_redirects=False, proxy=self._proxy
                )
            except (aiohttp.ConnectionTimeoutError, aiohttp.ServerTimeoutError, TimeoutError):
                raise _timeout() from None
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
                if is_last_try:
                    raise _unreachable(error) from None
            except (aiohttp.ClientError, OSError) as error:
                raise _unreachable(error) from None
        raise AssertionError("the last try returns or raises")


def _proxy_for(url: str) -> str | None:
    """Return the proxy that the environment names for a URL (HTTPS_PROXY, NO_PROXY); asked once, for it is slow."""
    parts = urllib.parse.urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)


async def read_reply(response: aiohttp.ClientResponse) -> bytes:
    """Return a reply's whole body. Raises RequestRefused when it is cut off or does not come."""
    try:
        return await response.read()
    except TimeoutError:
        raise _timeout() from None
    except (aiohttp.ClientError, OSError) as error:
        raise cut_off(error) from None


def cut_off(error: BaseException | None = None) -> RequestRefused:
    """Return the refusal of a reply that ended too early."""
    if isinstance(error, TimeoutError):
        return _timeout()
    return _bad_gateway("upstream_cut_off", "the upstream's reply ended before it was complete; try again")


def garbage() -> RequestRefused:
    """Return the refusal of a reply that is not what the request asked for."""
    return _bad_gateway("upstream_garbage", "the upstream's reply is not what OpenAI's API prescribes")


async def _refusal(response: aiohttp.ClientResponse) -> RequestRefused:
    """Return how a reply with another status than 200 is passed on."""
    if response.status not in _CLIENTS_MISTAKE:
        message = f"the upstream answered with HTTP status {response.status}"
        if response.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            message += "; this server's operator must check its key for the upstream"
        return _bad_gateway("upstream_error", message)
    try:
        error = json.loads(await response.content.read(_MAX_ERROR_BYTES))["error"]
        message, param = str(error["message"]), error.get("param")
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError, aiohttp.ClientError, OSError):
        message, param = f"the upstream refused the request with HTTP status {response.status}", None
    wait = response.headers.get("retry-after")
    return RequestRefused(
        HTTPStatus(response.status),
        "upstream_refused",
        message,
        param if isinstance(param, str) else None,
        headers=((b"retry-after", wait.encode()),) if wait else (),
    )


def _timeout() -> RequestRefused:
    return RequestRefused(HTTPStatus.GATEWAY_TIMEOUT, "upstream_timeout", "the upstream did not answer in time")


def _unreachable(error: BaseException) -> RequestRefused:
    """Say what happened without the address, which clients need not know."""
    cause = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno or 0
        cause = os.strerror(number) if number > 0 else "its name cannot be resolved"  # negative: getaddrinfo's own
    return _bad_gateway("upstream_unreachable", f"the upstream cannot be reached: {cause}")


def _bad_gateway(reason: str, message: str) -> RequestRefused:
    return RequestRefused(HTTPStatus.BAD_GATEWAY, reason, message)
