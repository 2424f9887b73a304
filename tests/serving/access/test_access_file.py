from __future__ import annotations

from pathlib import Path

import pytest

from promethios.errors import ConfigError
from promethios_serving.access.access_file import AccessFile, key_hash, read_access_file
from promethios_serving.access.caller import SCOPES

KEY = "pk-the-first-key"
ENTRY = f"{{id: app, sha256: {key_hash(KEY)}, tenant: acme, scopes: [infer]}}"
GOOD = f"tenants:\n  acme: {{domain: healthcare, minimum_decision: caveat}}\nkeys:\n  - {ENTRY}\n"


def written(folder: Path, text: str) -> Path:
    """Write an access file as a mounted Secret is: another file takes its place."""
    (folder / "new").write_text(text, encoding="utf-8")
    return (folder / "new").replace(folder / "access.yaml")


def test_a_key_is_found_by_its_hash_and_an_unknown_one_is_not(tmp_path: Path) -> None:
    access = AccessFile(written(tmp_path, GOOD))
    caller = access.caller(KEY)
    assert caller is not None
    assert (caller.key_id, caller.tenant, caller.policy.domain) == ("app", "acme", "healthcare")
    assert caller.may("infer") and not caller.may("review")
    assert access.caller("pk-another") is None
    assert access.caller("") is None


def test_a_changed_file_is_read_again_and_a_revoked_key_is_refused(tmp_path: Path) -> None:
    access = AccessFile(written(tmp_path, GOOD))
    written(tmp_path, GOOD.replace(key_hash(KEY), key_hash("pk-the-second-key")))
    assert access.caller(KEY) is None
    assert access.caller("pk-the-second-key") is not None


@pytest.mark.parametrize("broken", ["keys: [", "keys: []", ""], ids=["no YAML", "no keys", "empty"])
def test_a_file_that_becomes_wrong_leaves_the_last_good_one_in_force(tmp_path: Path, broken: str) -> None:
    access = AccessFile(written(tmp_path, GOOD))
    written(tmp_path, broken)
    assert access.caller(KEY) is not None


def test_admin_has_every_scope(tmp_path: Path) -> None:
    caller = AccessFile(written(tmp_path, GOOD.replace("[infer]", "[admin]"))).caller(KEY)
    assert caller is not None
    assert all(caller.may(scope) for scope in SCOPES)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("scopes: [infer]", "scopes: [infr]", "did you mean 'infer'"),
        ("scopes: [infer]", "scopes: []", "scopes must be a list"),
        ("tenant: acme", "tenant: acne", "did you mean 'acme'"),
        (key_hash(KEY), KEY, "64 hexadecimal digits"),
        ("minimum_decision: caveat", "minimum_decision: think", "is no decision"),
        ("minimum_decision: caveat", "requests_per_minute: -1", "whole number"),
        ("minimum_decision: caveat", "requests_per_minute: true", "whole number"),
        ("minimum_decision: caveat", "domains: [legal]", "not among its domains"),
        ("domain: healthcare", "domain: healthcase", "healthcare"),
        ("domain: healthcare", "domian: healthcare", "did you mean 'domain'"),
        ("id: app", "id: 'a b'", "keys[0].id"),
        ("keys:", "kees:", "did you mean 'keys'"),
        (f"  - {ENTRY}", f"  - {ENTRY}\n  - {ENTRY}", "twice"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as raised:
        read_access_file(written(tmp_path, GOOD.replace(old, new, 1)))
    assert said in str(raised.value)
    assert "access.yaml" in str(raised.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        AccessFile(tmp_path / "none.yaml")
