"""The access file: tenants and the hashes of their keys. Read again when it changes, as a mounted Secret does.

    tenants:
      acme: {domain: healthcare, domains: [healthcare, legal], minimum_decision: caveat, requests_per_minute: 600}
    keys:
      - {id: acme-app, sha256: <hex>, tenant: acme, scopes: [infer]}

Keys are random texts of 256 bits (`promethios keys`), which nobody can guess from a hash: plain SHA-256 is right, and
a slow hash would only slow each request down.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import yaml

from promethios.errors import ConfigError, PromethiosError, nearest
from promethios.ontology.governance_ontology import load_ontology
from promethios.strict_yaml import load_yaml
from promethios.telemetry.header import DECISIONS
from promethios_serving.access.caller import SCOPES, Caller, Quota, TenantPolicy

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_COUNTS: Final = tuple(field.name for field in fields(Quota))
_KEY_FIELDS: Final = ("id", "sha256", "tenant", "scopes", *_COUNTS)
_POLICY_FIELDS: Final = ("domain", "domains", "minimum_decision", *_COUNTS)
_log: Final = logging.getLogger("promethios.access")


def key_hash(key: str) -> str:
    """Return the SHA-256 of a key, in hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()


class AccessFile:
    """The callers that an access file names, by the hash of their key."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises ConfigError naming the key, its value and what is allowed."""
        self.path = path
        self._signature = self._look()
        self._callers = read_access_file(path)

    def caller(self, key: str) -> Caller | None:
        """Return whose key this is, or None. A file that changed and is wrong leaves the last good one in force."""
        return self.caller_by_hash(key_hash(key))

    def caller_by_hash(self, digest: str) -> Caller | None:
        """Return whose key has this hash, or None."""
        signature = self._look()
        if signature != self._signature:
            self._signature = signature
            try:
                self._callers = read_access_file(self.path)
                _log.info("%s read again: %d keys", self.path, len(self._callers))
            except ConfigError as error:
                _log.error("the last good access file stays in force: %s", error)
        return self._callers.get(digest)

    def _look(self) -> tuple[int, int, int] | None:
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


def read_access_file(path: Path) -> dict[str, Caller]:
    """Return the callers of an access file by the hash of their key. Raises ConfigError."""
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"access file {path} cannot be read: {error}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"access file {path} is not valid YAML: {error}") from None
    try:
        return _callers(content)
    except PromethiosError as error:
        raise ConfigError(f"access file {path}: {error}") from None


def _callers(content: Any) -> dict[str, Caller]:
    top = _mapping(content, "the file", ("tenants", "keys"))
    tenants = top.get("tenants") or {}
    if not isinstance(tenants, dict):
        raise ConfigError(f"tenants must map names to policies, not be {tenants!r}")
    policies = {_name(name, "a tenant"): _policy(name, policy) for name, policy in tenants.items()}
    keys = top.get("keys")
    if not isinstance(keys, list) or not keys:
        raise ConfigError("keys must be a list with at least one key; `promethios keys` makes one")
    callers: dict[str, Caller] = {}
    ids: set[str] = set()
    for position, entry in enumerate(keys):
        digest, caller = _caller(entry, f"keys[{position}]", policies)
        if digest in callers or caller.key_id in ids:
            raise ConfigError(f"keys[{position}]: id or sha256 stands there twice; remove one")
        callers[digest] = caller
        ids.add(str(caller.key_id))
    return callers


def _caller(entry: Any, place: str, policies: Mapping[str, TenantPolicy]) -> tuple[str, Caller]:
    entry = _mapping(entry, place, _KEY_FIELDS)
    digest, scopes, tenant = entry.get("sha256"), entry.get("scopes"), entry.get("tenant")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise ConfigError(
            f"{place}.sha256 must be 64 hexadecimal digits, the SHA-256 of the key; run `promethios keys`"
        )
    if not isinstance(scopes, list) or not scopes:
        raise ConfigError(f"{place}.scopes must be a list; allowed: {', '.join(SCOPES)}")
    for scope in scopes:
        if scope not in SCOPES:
            raise ConfigError(f"{place}.scopes: {scope!r} is no scope{nearest(str(scope), SCOPES)}")
    if tenant is not None and tenant not in policies:
        raise ConfigError(f"{place}.tenant: {tenant!r} is not among `tenants`{nearest(str(tenant), policies)}")
    policy = policies[tenant] if tenant is not None else TenantPolicy()
    return digest, Caller(
        key_id=_name(entry.get("id"), f"{place}.id"),
        tenant=tenant,
        scopes=frozenset(scopes),
        policy=policy,
        quota=_quota(entry, place),
    )


def _policy(tenant: Any, content: Any) -> TenantPolicy:
    place = f"tenants.{tenant}"
    given = _mapping(content or {}, place, _POLICY_FIELDS)
    domains = given.get("domains") or []
    if not isinstance(domains, list):
        raise ConfigError(f"{place}.domains must be a list, not {domains!r}")
    for domain in (*domains, *([given["domain"]] if given.get("domain") else [])):
        load_ontology().domain(domain)
    if given.get("domain") and domains and given["domain"] not in domains:
        raise ConfigError(f"{place}.domain {given['domain']!r} is not among its domains {', '.join(domains)}")
    minimum = given.get("minimum_decision")
    if minimum is not None and minimum not in DECISIONS:
        raise ConfigError(f"{place}.minimum_decision: {minimum!r} is no decision{nearest(str(minimum), DECISIONS)}")
    return TenantPolicy(
        domain=given.get("domain"),
        domains=frozenset(domains),
        minimum_decision=minimum,
        quota=_quota(given, place),
    )


def _quota(content: Mapping[str, Any], place: str) -> Quota:
    given = {name: content.get(name, 0) for name in _COUNTS}
    for name, count in given.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise ConfigError(f"{place}.{name} must be a whole number, 0 for no limit, not {count!r}")
    return Quota(**given)


def _mapping(content: Any, place: str, allowed: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ConfigError(f"{place} must have the keys {', '.join(allowed)}, but is {content!r}")
    for name in content:
        if name not in allowed:
            raise ConfigError(f"{place} has no key {name!r}{nearest(str(name), allowed)}")
    return content


def _name(name: Any, place: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"{place}: {name!r} must be letters, digits, '.', '_' or '-', at most 63 of them")
    return name
