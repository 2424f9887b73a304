from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from promethios.errors import ConfigError
from promethios_serving.openai_errors import RequestRefused
from promethios_serving.telemetry import signed
from promethios_serving.telemetry.signed import SignedTelemetry
from promethios_serving.telemetry.subject import EVERYBODY, Subject
from tests.serving.signed_tokens import claims, jwk, write_keys

SECRET = bytes(range(32))
ED = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ALGORITHMS = {"hmac": ("HS256", SECRET), "ed": ("EdDSA", ED), "rsa": ("RS256", RSA), "ec": ("ES256", EC)}
Sign = Callable[..., str]


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


KEYS = [
    jwk("hmac", "HS256", SECRET),
    jwk("ed", "EdDSA", ED.public_key()),
    jwk("rsa", "RS256", RSA.public_key()),
    jwk("ec", "ES256", EC.public_key()),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_keys(tmp_path_factory.mktemp("keys") / "keys.json", KEYS)


@pytest.fixture
def telemetry(path: Path) -> SignedTelemetry:
    return SignedTelemetry(path)


def token(kid: str = "ed", header: Any = None, **changes: Any) -> str:
    algorithm, key = ALGORITHMS[kid]
    return jwt.encode(claims(**changes), key, algorithm, headers={"kid": kid, **(header or {})})


def forged(reason: str) -> float:
    return REGISTRY.get_sample_value("promethios_telemetry_forged_total", {"reason": reason}) or 0.0


def refusal(telemetry: SignedTelemetry, text: str, reason: str, status: int = 401) -> str:
    before = forged(reason)
    with pytest.raises(RequestRefused) as refused:
        telemetry.verified(text)
    assert (refused.value.status, refused.value.reason) == (status, "bad_telemetry_token")
    assert forged(reason) == before + 1, "counted under its reason"
    return refused.value.message


@pytest.mark.parametrize("kid", ALGORITHMS)
def test_a_token_signed_with_any_of_the_keys_is_taken(telemetry: SignedTelemetry, kid: str) -> None:
    said = telemetry.verified(token(kid))
    assert said.state.trust is not None
    assert said.state.trust.value == 0.9
    assert said.subject == EVERYBODY


def test_readings_are_as_old_as_the_token_unless_they_say_otherwise(telemetry: SignedTelemetry) -> None:
    issued = time.time() - 20
    readings = {"trust": 0.3, "verify": {"value": 0.5, "age_s": 100}, "attest": {"value": 0.5, "at": issued - 200}}
    state = telemetry.verified(token(iat=issued, telemetry=readings)).state
    ages = {channel.name: reading.age_s for channel, reading in state if reading is not None}
    assert ages == {name: pytest.approx(age, abs=2) for name, age in (("trust", 20), ("verify", 120), ("attest", 220))}


def test_telemetry_may_be_tags_and_name_its_subject(telemetry: SignedTelemetry) -> None:
    said = telemetry.verified(token(telemetry={"tags": "<gov:emotion=CALM>"}, subject={"tenant": "acme", "agent": "a"}))
    assert said.state.emotion is not None
    assert said.subject == Subject(tenant="acme", agent="a")


def test_a_token_is_taken_once_whichever_its_key(telemetry: SignedTelemetry) -> None:
    once = token(jti="same")
    telemetry.verified(once)
    assert "used before" in refusal(telemetry, once, "replayed", 403)
    refusal(telemetry, token(jti="same"), "replayed", 403)
    telemetry.verified(token("rsa", jti="same"))


def test_what_is_remembered_is_bounded_and_forgotten_when_it_expires(
    telemetry: SignedTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signed, "MAX_REMEMBERED", 2)
    telemetry.verified(token())
    telemetry.verified(token())
    refusal(telemetry, token(), "replayed", 403)
    now, fresh = time.time, token()
    monkeypatch.setattr(time, "time", lambda: now() + 40)
    telemetry.verified(fresh)
    assert len(telemetry._used._known) == 1


def test_a_token_that_is_given_back_again_and_again_is_remembered_once(telemetry: SignedTelemetry) -> None:
    again = token()
    for _ in range(5):
        telemetry.give_back(telemetry.verified(again).token)
    telemetry.verified(again)
    refusal(telemetry, again, "replayed", 403)
    assert len(telemetry._used._by_expiry) == 1


def test_a_replay_within_the_leeway_after_expiry_is_still_known(
    telemetry: SignedTelemetry,
) -> None:
    late = token(iat=time.time() - 20, exp=time.time() - 2)
    telemetry.verified(late)
    refusal(telemetry, late, "replayed", 403)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": time.time() - 60, "iat": time.time() - 90}, "expired"),
        ({"iat": time.time() + 3600, "exp": time.time() + 3610}, "not_yet_valid"),
        ({"nbf": time.time() + 3600}, "not_yet_valid"),
        ({"aud": "another-service"}, "audience"),
        ({"aud": ...}, "claims"),
        ({"iat": ...}, "claims"),
        ({"exp": ...}, "claims"),
        ({"jti": ...}, "claims"),
        ({"jti": 7}, "malformed"),
        ({"jti": ""}, "claims"),
        ({"exp": time.time() + 3600}, "claims"),
        ({"exp": True}, "expired"),
        ({"telemetry": ...}, "claims"),
        ({"telemetry": {"trust": "high"}}, "claims"),
        ({"telemetry": [0.3]}, "claims"),
        ({"subject": {"tennant": "acme"}}, "claims"),
        ({"subject": {"tenant": 3}}, "claims"),
        ({"subject": "acme"}, "claims"),
    ],
)
def test_wrong_claims_are_refused_and_counted(telemetry: SignedTelemetry, changes: dict[str, Any], reason: str) -> None:
    refusal(telemetry, token(**changes), reason)


def parts(text: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    header, payload, signature = text.split(".")
    read = [json.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, payload)]
    return read[0], read[1], signature


def joined(header: Any, payload: Any, signature: str) -> str:
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(payload).encode())}.{signature}"


def test_forgeries_are_refused(telemetry: SignedTelemetry) -> None:
    header, payload, signature = parts(token("rsa"))
    public_pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    refusal(telemetry, joined(header, {**payload, "telemetry": {"trust": 1.0}}, signature), "signature")
    for algorithm in ("none", "None", "NONE", "", "HS256", "ES256", None):
        refusal(telemetry, joined({**header, "alg": algorithm}, payload, ""), "algorithm")
    # the public key taken for an HMAC secret, which anybody could sign with
    unsigned = f"{b64(json.dumps({**header, 'alg': 'HS256'}).encode())}.{b64(json.dumps(payload).encode())}"
    mac = jwt.get_algorithm_by_name("HS256").sign(unsigned.encode(), public_pem)
    refusal(telemetry, f"{unsigned}.{b64(mac)}", "algorithm")
    # a key that the token brings along
    own = ed25519.Ed25519PrivateKey.generate()
    brought = json.loads(jwt.get_algorithm_by_name("EdDSA").to_jwk(own.public_key()))
    evil = jwt.encode(claims(), own, "EdDSA", headers={"kid": "ed", "jwk": brought, "jku": "https://evil.example/"})
    refusal(telemetry, evil, "signature")
    refusal(telemetry, jwt.encode(claims(), SECRET, "HS256", headers={"kid": "ed"}), "algorithm")
    refusal(telemetry, jwt.encode(claims(), own, "EdDSA", headers={"kid": "unknown"}), "unknown_key")
    refusal(telemetry, jwt.encode(claims(), own, "EdDSA"), "unknown_key")
    refusal(telemetry, token(header={"crit": ["x"], "x": 1}), "malformed")


@pytest.mark.parametrize(
    "text",
    ["", "a", "a.b", "a.b.c", "..", "ü.b.c", "x" * 9000, f"{b64(b'[' * 3000)}.e30.", f"{b64(b'[]')}.e30.", "e30.e30."],
)
def test_garbage_is_refused(telemetry: SignedTelemetry, text: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        telemetry.verified(text)
    assert refused.value.status == 401


@given(st.text(max_size=200), st.binary(max_size=100), st.integers(0, 400))
def test_no_text_and_no_changed_byte_passes_or_crashes(path: Path, text: str, noise: bytes, place: int) -> None:
    telemetry = SignedTelemetry(path)
    good = token("hmac")
    place = min(place, len(good) - 44)  # the last sign holds bits that no decoder looks at
    for bad in (text, f"{b64(noise)}.{b64(noise)}.{b64(noise)}", good[:place] + "~" + good[place + 1 :]):
        with pytest.raises(RequestRefused):
            telemetry.verified(bad)


def test_keys_that_change_are_read_again_and_bad_ones_leave_the_last_in_force(tmp_path: Path) -> None:
    file = write_keys(tmp_path / "keys.json", KEYS[:1])
    telemetry = SignedTelemetry(file)
    refusal(telemetry, token("ed"), "unknown_key")
    write_keys(file, KEYS[:2])
    telemetry.verified(token("ed"))
    file.write_text("{", encoding="utf-8")
    telemetry.verified(token("ed"))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ([], "no key"),
        (3, "JWK set"),
        ([3], "keys[0]"),
        ([{**KEYS[0], "kid": ""}], "kid"),
        ([{**KEYS[0], "alg": "HS512"}], "oct with HS256"),
        ([{**KEYS[0], "alg": "none"}], "not allowed"),
        ([{**KEYS[1], "alg": "HS256"}], "not allowed"),
        ([{**KEYS[0], "k": b64(b"short")}], "32 bytes"),
        ([{**KEYS[0], "k": None}], "keys[0]"),
        ([{**KEYS[1], "d": "secret"}], "private key"),
        ([{**KEYS[1], "x": "AAAA"}], "keys[0]"),
        ([KEYS[0], KEYS[0]], "twice"),
    ],
)
def test_keys_that_cannot_be_used_end_the_start(tmp_path: Path, keys: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=r"keys\.json") as refused:
        SignedTelemetry(write_keys(tmp_path / "keys.json", keys))
    assert said in str(refused.value)


def test_a_missing_file_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        SignedTelemetry(tmp_path / "keys.json")
