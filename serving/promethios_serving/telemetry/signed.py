"""Telemetry that a trusted caller signs for one request: the header `x-promethios-telemetry`, a JSON Web Token.

    header   {"alg": "EdDSA", "kid": "gateway-1"}
    claims   aud "promethios", iat, exp (at most 300 s after iat), jti (new for each request),
             telemetry {"trust": 0.3, ...} or "<gov:trust=0.3>": as old as iat, where a channel has no time of its own,
             subject {"tenant", "agent", "session"}: optional; whom it is about, which must be who asks

The keys are a JWK set, read again when it changes. Each key names its one algorithm, so a token cannot choose another
(no `none`, no public key taken for a secret). A token is taken once, unless its request ended undecided; each server
process remembers its own, so with several of them let tokens live for seconds.
"""

from __future__ import annotations

import base64
import heapq
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import jwt

from promethios.errors import ConfigError, PromethiosError, TelemetryError
from promethios.strict_yaml import load_json
from promethios.telemetry.document import document_from_plain
from promethios.telemetry.state import GovernanceState
from promethios_serving import metrics
from promethios_serving.openai_errors import RequestRefused
from promethios_serving.telemetry.file import file_signature
from promethios_serving.telemetry.subject import Subject

AUDIENCE: Final = "promethios"
MAX_LIFETIME_S: Final = 300.0
MAX_TOKEN: Final = 8192
"""Longest token, in characters."""
MAX_REMEMBERED: Final = 100_000
"""Tokens that one process remembers; beyond it new ones are refused until old ones expire."""
_LEEWAY_S: Final = 5.0
_ALGORITHMS: Final = {"oct": ("HS256",), "OKP": ("EdDSA",), "RSA": ("RS256",), "EC": ("ES256",)}
_MIN_SECRET_BYTES: Final = 32
_REASONS: Final = (
    (jwt.ExpiredSignatureError, "expired"),
    (jwt.ImmatureSignatureError, "not_yet_valid"),
    (jwt.InvalidAudienceError, "audience"),
    (jwt.InvalidAlgorithmError, "algorithm"),
    (jwt.InvalidSignatureError, "signature"),
    (jwt.MissingRequiredClaimError, "claims"),
)
_log: Final = logging.getLogger("promethios.telemetry")


@dataclass(frozen=True, slots=True)
class SignedState:
    """What a good token says: the telemetry, and whom it is about. token: its key and its name."""

    state: GovernanceState
    subject: Subject
    token: tuple[str, str]


class SignedTelemetry:
    """Checks tokens against a JWK set."""

    def __init__(self, path: Path) -> None:
        """Read the keys. Raises ConfigError naming file, key and what is allowed."""
        self.path = path
        self._seen = file_signature(path)
        self._keys = read_keys(path)
        self._used = _Used()

    def verified(self, token: str) -> SignedState:
        """Return what a token says. Raises RequestRefused (401; 403 for one that was used before), counted."""
        try:
            kid, claims = self._claims(token)
            issued, expires = _times(claims)
            state = document_from_plain(claims["telemetry"], issued).state_at(time.time())
            subject = _subject(claims.get("subject"))
        except (jwt.PyJWTError, RecursionError) as error:
            reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), "malformed")
            raise refused(reason, f"the token is not valid: {error}") from None
        except (TelemetryError, TypeError, ValueError, OverflowError) as error:
            raise refused("claims", f"the token's claims are not valid: {error}") from None
        token_name = (kid, claims["jti"])
        if not self._used.first_time(token_name, expires + _LEEWAY_S):
            raise refused("replayed", "the token was used before; sign one for each request", HTTPStatus.FORBIDDEN)
        return SignedState(state, subject, token_name)

    def give_back(self, token: tuple[str, str]) -> None:
        """Let a token be used again: nothing was decided on it."""
        self._used.forget(token)

    def _claims(self, token: str) -> tuple[str, dict[str, Any]]:
        """Return the id of the key that signed a token and its claims. Raises PyJWTError and ValueError."""
        if len(token) > MAX_TOKEN or not token.isascii():
            raise jwt.DecodeError(f"it must be ASCII, at most {MAX_TOKEN} characters")
        kid = str(jwt.get_unverified_header(token).get("kid"))
        key = self._current_keys().get(kid)
        if key is None:
            raise refused("unknown_key", "the token's `kid` names no key of this server")
        options: Any = {"require": ["aud", "iat", "exp", "jti"]}
        claims = jwt.decode(
            token, key, algorithms=[key.algorithm_name], audience=AUDIENCE, leeway=_LEEWAY_S, options=options
        )
        if "telemetry" not in claims:
            raise jwt.MissingRequiredClaimError("telemetry")
        return kid, claims

    def _current_keys(self) -> Mapping[str, jwt.PyJWK]:
        signature = file_signature(self.path)
        if signature != self._seen:
            self._seen = signature
            try:
                self._keys = read_keys(self.path)
            except ConfigError as error:
                _log.error("the last good keys stay in force: %s", error)
        return self._keys


class _Used:
    """Tokens that were seen and have not expired; each with whether it is used, for one may be given back."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], bool] = {}
        self._by_expiry: list[tuple[float, tuple[str, str]]] = []

    def first_time(self, token: tuple[str, str], expires: float) -> bool:
        """Return whether a token is not used yet, and remember it until it expires."""
        now = time.time()
        while self._by_expiry and self._by_expiry[0][0] < now:
            del self._known[heapq.heappop(self._by_expiry)[1]]
        if token not in self._known:
            if len(self._known) >= MAX_REMEMBERED:
                return False
            heapq.heappush(self._by_expiry, (expires, token))
        elif self._known[token]:
            return False
        self._known[token] = True
        return True

    def forget(self, token: tuple[str, str]) -> None:
        """Take a token for new again."""
        if token in self._known:
            self._known[token] = False


def refused(reason: str, message: str, status: HTTPStatus = HTTPStatus.UNAUTHORIZED) -> RequestRefused:
    """Count a refused token and return its refusal."""
    metrics.TELEMETRY_FORGED.labels(reason=reason).inc()
    return RequestRefused(status, "bad_telemetry_token", f"x-promethios-telemetry: {message}")


def read_keys(path: Path) -> dict[str, jwt.PyJWK]:
    """Return the keys of a JWK set by their `kid`. Raises ConfigError."""
    try:
        entries = load_json(path.read_text(encoding="utf-8"))["keys"]
        keys = {}
        for position, entry in enumerate(entries):
            try:
                kid, key = _key(entry)
            except (ConfigError, jwt.PyJWTError, LookupError, TypeError, ValueError) as error:
                raise ConfigError(f"keys[{position}]: {error}") from None
            if kid in keys:
                raise ConfigError(f"keys[{position}]: kid {kid!r} stands there twice")
            keys[kid] = key
    except OSError as error:
        raise ConfigError(f"telemetry keys {path} cannot be read: {error.strerror}") from None
    except PromethiosError as error:
        raise ConfigError(f"telemetry keys {path}: {error}") from None
    except (LookupError, TypeError, ValueError, RecursionError):
        raise ConfigError(f'telemetry keys {path} must be a JWK set: {{"keys": [...]}}') from None
    if not keys:
        raise ConfigError(f"telemetry keys {path}: there is no key in it")
    return keys


def _key(entry: Any) -> tuple[str, jwt.PyJWK]:
    if not isinstance(entry, dict):
        raise ConfigError(f"a key is a JSON object, not {entry!r:.40}")
    kid, kind, algorithm = entry.get("kid"), entry.get("kty"), entry.get("alg")
    if not isinstance(kid, str) or not kid:
        raise ConfigError("`kid` must be a text that tokens name")
    allowed = _ALGORITHMS.get(str(kind), ())
    if algorithm not in allowed:
        raise ConfigError(f"kty={kind!r} with alg={algorithm!r} is not allowed; {_allowed_pairs()}")
    if kind != "oct" and "d" in entry:
        raise ConfigError("it holds a private key; the server needs the public one only")
    if kind == "oct" and len(_bytes(entry["k"])) < _MIN_SECRET_BYTES:
        raise ConfigError(f"the secret `k` must have at least {_MIN_SECRET_BYTES} bytes")
    return kid, jwt.PyJWK(entry, algorithm=algorithm)


def _allowed_pairs() -> str:
    return ", ".join(f"{kind} with {names[0]}" for kind, names in _ALGORITHMS.items())


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _times(claims: Mapping[str, Any]) -> tuple[float, float]:
    """Return `iat` and `exp`. Raises ValueError."""
    issued, expires = claims["iat"], claims["exp"]
    for name, moment in (("iat", issued), ("exp", expires)):
        if isinstance(moment, bool) or not isinstance(moment, int | float) or not math.isfinite(moment):
            raise ValueError(f"`{name}` must be Unix seconds")
    if not isinstance(claims["jti"], str) or not claims["jti"]:
        raise ValueError("`jti` must be a text")
    if not 0 < expires - issued <= MAX_LIFETIME_S:
        raise ValueError(f"`exp` must lie at most {MAX_LIFETIME_S:g} s after `iat`")
    return float(issued), float(expires)


def _subject(plain: Any) -> Subject:
    """Return the subject of a token. Raises TypeError and ValueError."""
    subject = Subject(**(plain or {}))
    if not all(name is None or isinstance(name, str) for name in subject.to_mapping().values()):
        raise ValueError("the names in `subject` must be texts")
    return subject
