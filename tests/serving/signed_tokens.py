"""Telemetry signed as a gateway does it: one HMAC key, its JWK, and the header that a request carries."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import jwt

SECRET = b"a gateway signs with these bytes"


def jwk(kid: str, algorithm: str, key: Any) -> dict[str, Any]:
    """A key as a JSON Web Key: a secret, or the public half of a pair."""
    plain = jwt.get_algorithm_by_name(algorithm).to_jwk(key)
    return {**json.loads(plain), "kid": kid, "alg": algorithm}


def write_keys(path: Path, keys: Any) -> Path:
    """Write a key set in one step, as a secret store replaces a file."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"keys": keys}), encoding="utf-8")
    new.replace(path)
    return path


def claims(**changes: Any) -> dict[str, Any]:
    """Claims that hold for 30 s; a claim that is `...` is left out."""
    now, telemetry = time.time(), dict.fromkeys(("trust", "verify", "attest", "bound"), 0.9)
    plain = {"aud": "promethios", "iat": now, "exp": now + 30, "jti": os.urandom(8).hex(), "telemetry": telemetry}
    return {name: value for name, value in {**plain, **changes}.items() if value is not ...}


def signed(secret: bytes = SECRET, **changes: Any) -> dict[str, str]:
    """Headers with a token of the gateway's key."""
    return {"x-promethios-telemetry": jwt.encode(claims(**changes), secret, "HS256", headers={"kid": "gateway"})}


GATEWAY_KEY = jwk("gateway", "HS256", SECRET)
