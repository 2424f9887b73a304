"""What is known of a training: its state, how far it has come, and why it waits or how it ended."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from promethios.cluster.connection import Connection, ConnectionLost, Object, Refused
from promethios.cluster.jobs import Job
from promethios.cluster.pods import TRAINING_CONTAINERS, container_statuses, last_end, log_lines, pods_of, why_waiting
from promethios.cluster.progress import Progress, parse_attempt, parse_checkpoint, parse_last_words, parse_progress

_EXIT_CANCELLED: Final = 128 + signal.SIGTERM
_LOG_LINES: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `promethios status` shows of a job; None is what is not known.

    attempt, step, checkpoint_step: as far as log and termination message of its pods tell. reason: why it waits or how
    it ended. created: RFC 3339.
    """

    name: str
    kind: str
    state: str
    reason: str | None
    created: str
    attempt: int | None
    progress: Progress | None
    checkpoint_step: int | None
    exit_code: int | None
    conditions: list[dict[str, Any]]
    pods: list[dict[str, Any]]


def report(connection: Connection, job: Job) -> Report:
    """Return what is known of a job."""
    pods = pods_of(connection, job.name)
    first = pods[0] if pods else None
    lines = _log_tail(connection, first) if first else []
    end = last_end(pods)
    words = parse_last_words(end.get("message", "")) if end else None
    attempts = [words.attempt] if words else []
    checkpoints = [words.checkpoint_step] if words and words.checkpoint_step else []
    return Report(
        name=job.name,
        kind=job.body["kind"],
        state=job.state,
        reason=_reason(job, pods, end),
        created=job.body["metadata"]["creationTimestamp"],
        attempt=max([*attempts, *_all(map(parse_attempt, lines))], default=None),
        progress=next(iter(_all(map(parse_progress, reversed(lines)))), None),
        checkpoint_step=max([*checkpoints, *_all(map(parse_checkpoint, lines))], default=None),
        exit_code=end["exitCode"] if end else None,
        conditions=job.body.get("status", {}).get("conditions", []),
        pods=[_pod_facts(pod) for pod in pods],
    )


def exit_code_of(job: Job, pods: Iterable[Object]) -> int:
    """Return 0 for a job that succeeded, 143 for a cancelled one, else its training's exit code, or 1."""
    if job.state == "Succeeded":
        return 0
    if job.state == "Cancelled":
        return _EXIT_CANCELLED
    end = last_end(pods)
    return end["exitCode"] or 1 if end else 1


def _log_tail(connection: Connection, pod: Object) -> list[str]:
    """Return the last lines of the training's log; none where there is no log to be had."""
    for each in container_statuses(pod):
        if each["name"] in TRAINING_CONTAINERS and "waiting" not in each["state"]:
            try:
                return list(log_lines(connection, pod, each["name"], tail=_LOG_LINES))
            except (Refused, ConnectionLost):  # its node may be away, and the rest is still worth showing
                return []
    return []


def _reason(job: Job, pods: Iterable[Object], end: Object | None) -> str | None:
    if end and end.get("message"):
        return str(end["message"]).strip()
    if waiting := next(filter(None, map(why_waiting, pods)), None):
        return waiting
    conditions = [each for each in job.body.get("status", {}).get("conditions", []) if each["status"] == "True"]
    return conditions[-1].get("message") if conditions and job.state in {"Failed", "Suspended"} else None


def _pod_facts(pod: Object) -> dict[str, Any]:
    return {
        "name": pod["metadata"]["name"],
        "phase": pod.get("status", {}).get("phase"),
        "node": pod.get("spec", {}).get("nodeName"),
        "reason": pod.get("status", {}).get("reason") or why_waiting(pod),
    }


def _all(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if value is not None]
