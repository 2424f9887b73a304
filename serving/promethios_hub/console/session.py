"""Signing in with an API key: a signed cookie that names the key by its hash, and a token in each form.

The cookie cannot be read by scripts, is not sent by other sites (SameSite=Strict), and is worth nothing once the key is
taken out of the access file. The form's token is made from the cookie, so that another site cannot know it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import Depends, Form, Request, Response

from promethios_hub.api.callers import LOCAL
from promethios_serving.access.access_file import key_hash
from promethios_serving.access.caller import Caller
from promethios_serving.openai_errors import RequestRefused

COOKIE: Final = "promethios_console"
LIFETIME_S: Final = 12 * 3600
_LOCAL_KEY: Final = "local"


@dataclass(frozen=True, slots=True)
class Session:
    """A person at the console: who it is, and the token that its forms carry."""

    caller: Caller
    token: str

    @property
    def reviewer(self) -> str:
        """Name of the person in reviews: the id of its key."""
        return str(self.caller.key_id)


class SignInNeeded(Exception):
    """Nobody is signed in; the page to sign in is shown instead."""


class Sessions:
    """Makes and reads the cookies. Without a secret of its own, one is drawn: they then end with the process."""

    def __init__(self, secret: str | None) -> None:
        self._secret = (secret or secrets.token_hex(32)).encode()

    def cookie(self, digest: str, now: float) -> str:
        """Return the cookie of a key, given by its hash."""
        content = f"{digest}.{int(now + LIFETIME_S)}.{secrets.token_hex(8)}"
        return f"{content}.{self._sign('cookie', content)}"

    def digest(self, cookie: str, now: float) -> str | None:
        """Return the hash of the key that a cookie was made for; None for one that is forged, damaged or too old."""
        content, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign("cookie", content).encode()):
            return None
        digest, expires, _ = content.split(".")
        return digest if int(expires) > now else None

    def token(self, cookie: str) -> str:
        """Return the token that forms of this session carry."""
        return self._sign("form", cookie)

    def _sign(self, purpose: str, content: str) -> str:
        return hmac.new(self._secret, f"{purpose}:{content}".encode(), hashlib.sha256).hexdigest()


def sign_in(request: Request, response: Response, key: str) -> Caller:
    """Set the cookie of a key. Raises RequestRefused for one that is unknown, or may not review."""
    access = request.app.state.hub.access
    caller = LOCAL if access is None else access.caller(key.strip())
    if caller is None:
        raise RequestRefused(HTTPStatus.UNAUTHORIZED, "invalid_api_key", "This key is not known here.")
    if not caller.may("review"):
        raise RequestRefused(HTTPStatus.FORBIDDEN, "missing_scope", "This key is not one for reviewers.")
    digest = _LOCAL_KEY if access is None else key_hash(key.strip())
    cookie = request.app.state.sessions.cookie(digest, time.time())
    secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
    response.set_cookie(
        COOKIE, cookie, max_age=LIFETIME_S, path="/console", httponly=True, samesite="strict", secure=secure
    )
    return caller


def current_session(request: Request) -> Session:
    """Return who is signed in. Raises SignInNeeded."""
    sessions: Sessions = request.app.state.sessions
    cookie = request.cookies.get(COOKIE, "")
    digest = sessions.digest(cookie, time.time())
    if digest is None:
        raise SignInNeeded
    access = request.app.state.hub.access
    caller = LOCAL if access is None else access.caller_by_hash(digest)
    if caller is None or not caller.may("review"):
        raise SignInNeeded
    return Session(caller, sessions.token(cookie))


SignedIn = Annotated[Session, Depends(current_session)]


def require_token(session: SignedIn, token: Annotated[str, Form(max_length=200)] = "") -> None:
    """Refuse a form that this console did not write. Raises RequestRefused (403)."""
    if not hmac.compare_digest(token.encode(), session.token.encode()):
        message = "This form is out of date. Go back, load the page again and repeat what you did."
        raise RequestRefused(HTTPStatus.FORBIDDEN, "form_out_of_date", message)


OwnForm = Depends(require_token)
