"""Live telemetry from Prometheus: one PromQL query a channel.

    url: http://prometheus:9090
    queries:
      trust: deployment_trust                                   # a number
      verify: {query: avg(verified_share), at: min(timestamp(verified_share))}
      emotion: {query: "topk(1, emotion_state)", label: emotion} # a word: the label's value

A reading is as old as its sample, which `timestamp(<query>)` says for a plain selector; of an expression, Prometheus
knows the time of the evaluation only, so give `at`. Without that an average of dead series would look fresh.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from promethios.errors import TelemetryError, nearest
from promethios.telemetry.document import MAX_DOCUMENT_BYTES, parse_document
from promethios.telemetry.state import CHANNEL_BY_NAME, GovernanceState
from promethios_serving.shown_url import shown_url
from promethios_serving.telemetry.fetch import BadStatus, fetch
from promethios_serving.telemetry.source import report
from promethios_serving.telemetry.subject import EVERYBODY, Subject

_QUERY_KEYS: Final = ("query", "at", "label")
Sample = dict[str, Any]
"""A reading as GovernanceState.from_mapping takes it: `value`, and `at` in Unix seconds."""


@dataclass(frozen=True, slots=True)
class ChannelQuery:
    """How a channel is read: a query for its value, one for the time of it, and the label that holds a word."""

    query: str
    at: str
    label: str | None


class PrometheusTelemetry:
    """Channels that Prometheus knows; each keeps its last good reading."""

    name = "prometheus"

    def __init__(self, path: Path, timeout_s: float) -> None:
        """Read the file of queries. Raises TelemetryError naming the file, the key and what is allowed."""
        self.error: str | None = None
        self.url, self.queries = read_queries(path)
        self.timeout_s = timeout_s
        self._samples: dict[str, Sample] = {}

    def state(self, subject: Subject = EVERYBODY) -> GovernanceState | None:
        """Return the readings with the ages that they have now."""
        return GovernanceState.from_mapping(self._samples, now=time.time()) if self._samples else None

    async def refresh(self) -> None:
        """Run all queries at once."""
        failures = [failure for failure in await asyncio.gather(*map(self._read, self.queries)) if failure]
        error = f"{shown_url(self.url)}: {'; '.join(failures)}" if failures else None
        if error is not None:
            report(self.name, error, new=error != self.error)
        self.error = error

    async def _read(self, channel: str) -> str | None:
        """Read a channel; returns what went wrong."""
        query = self.queries[channel]
        try:
            found, taken = await asyncio.gather(self._ask(query.query), self._ask(query.at))
            sample = {"value": _value(found, query.label), "at": _number(taken)}
            GovernanceState.from_mapping({channel: sample}, now=time.time())
        except TelemetryError as error:
            return f"{channel}: {error}"
        self._samples[channel] = sample
        return None

    async def _ask(self, query: str) -> dict[str, Any]:
        """Return the one series of an instant query: its labels and its value. Raises TelemetryError."""
        try:
            raw = await fetch(
                f"{self.url}/api/v1/query",
                timeout_s=self.timeout_s,
                max_bytes=MAX_DOCUMENT_BYTES,
                parameters={"query": query},
            )
        except BadStatus as error:
            raise TelemetryError(f"{error} for {query!r}: {_reason(error.body)}") from None
        try:
            data = json.loads(raw)["data"]
            kind, series = data["resultType"], [dict(one) for one in data["result"]]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise TelemetryError("the reply is not Prometheus's") from None
        if kind != "vector" or len(series) != 1:
            raise TelemetryError(f"{query!r} gives {len(series)} series ({kind}); it must give a vector of one")
        return series[0]


def read_queries(path: Path) -> tuple[str, dict[str, ChannelQuery]]:
    """Return the URL and the queries by channel. Raises TelemetryError."""
    try:
        content = parse_document(path.read_bytes(), is_json=path.suffix == ".json")
        return _url(content), {name: _query(name, plain) for name, plain in content["queries"].items()}
    except OSError as error:
        raise TelemetryError(f"Prometheus queries {path}: {error.strerror}") from None
    except TelemetryError as error:
        raise TelemetryError(f"Prometheus queries {path}: {error}") from None


def _url(content: Any) -> str:
    if not isinstance(content, dict) or set(content) != {"url", "queries"}:
        raise TelemetryError("must have the two keys `url` and `queries`")
    url, queries = content["url"], content["queries"]
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise TelemetryError(f"url={url!r} is not allowed; an http:// or https:// URL")
    if not isinstance(queries, dict) or not queries:
        raise TelemetryError("queries must map channels to PromQL, at least one")
    return url.rstrip("/")


def _query(channel: Any, plain: Any) -> ChannelQuery:
    if channel not in CHANNEL_BY_NAME:
        raise TelemetryError(f"queries: there is no channel {channel!r}{nearest(str(channel), CHANNEL_BY_NAME)}")
    if isinstance(plain, str):
        plain = {"query": plain}
    if not isinstance(plain, dict) or not all(isinstance(text, str) and text for text in plain.values()):
        raise TelemetryError(f"queries.{channel} must be a text, or a mapping of texts with {', '.join(_QUERY_KEYS)}")
    for key in plain:
        if key not in _QUERY_KEYS:
            raise TelemetryError(f"queries.{channel} has no key {key!r}{nearest(str(key), _QUERY_KEYS)}")
    if "query" not in plain:
        raise TelemetryError(f"queries.{channel}: the key `query` is missing")
    if CHANNEL_BY_NAME[channel].is_number == ("label" in plain):
        wanted = "a number and takes no `label`" if "label" in plain else "a word; name the `label` that holds it"
        raise TelemetryError(f"queries.{channel}: the channel is {wanted}")
    return ChannelQuery(plain["query"], plain.get("at", f"timestamp({plain['query']})"), plain.get("label"))


def _value(series: dict[str, Any], label: str | None) -> float | str:
    if label is None:
        return _number(series)
    labels = series["metric"]
    if label not in labels:
        raise TelemetryError(f"the series has no label {label!r}; it has {', '.join(sorted(labels)) or 'none'}")
    return str(labels[label])


def _number(series: dict[str, Any]) -> float:
    try:
        number = float(series["value"][1])
    except (LookupError, TypeError, ValueError):
        raise TelemetryError("the reply is not Prometheus's") from None
    if not math.isfinite(number):
        raise TelemetryError(f"the value is {number}")
    return number


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, LookupError, TypeError):
        return body[:200].decode(errors="replace")
