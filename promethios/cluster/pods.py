"""The pods of a training: which they are, why one waits, how one ended, and what it has written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from promethios.cluster.connection import Connection, Object
from promethios.cluster.trainjob import CONTAINER, JOB_NAME_LABEL

TRAINING_CONTAINERS: Final = frozenset({"pytorch", CONTAINER})
_FIRST_POD_LABELS: Final = (
    ("training.kubeflow.org/job-role", "master"),
    ("batch.kubernetes.io/job-completion-index", "0"),
)


def pods_of(connection: Connection, name: str) -> list[Object]:
    """Return a job's pods, the first rank's before the others."""
    pods = connection.items("v1", "Pod", labels=f"{JOB_NAME_LABEL}={name}")
    return sorted(pods, key=lambda pod: (not _is_first(pod), pod["metadata"]["name"]))


def container_statuses(pod: Object) -> list[Object]:
    """Return the status of every container of a pod that has one, in the order of their start."""
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def why_waiting(pod: Object) -> str | None:
    """Return why a pod does not run yet, in the cluster's words; None when it does or nothing is known."""
    for each in container_statuses(pod):
        waiting = each["state"].get("waiting")
        if waiting and waiting.get("reason") not in {"PodInitializing", "ContainerCreating"}:
            return ": ".join(filter(None, (waiting.get("reason"), waiting.get("message"))))
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message") or condition.get("reason"))
    return None


def last_end(pods: Iterable[Object]) -> Object | None:
    """Return how the training's container last ended, of the first pod of which that is known."""
    for pod in pods:
        for each in container_statuses(pod):
            end = each["state"].get("terminated") or each.get("lastState", {}).get("terminated")
            if end and (each["name"] in TRAINING_CONTAINERS or end["exitCode"]):
                return dict(end)
    return None


def log_lines(connection: Connection, pod: Object, container: str, *, tail: int | None = None) -> Iterator[str]:
    """Yield the log of a container so far without its times. tail: only so many lines at the end."""
    text = connection.log(pod["metadata"]["name"], container, tail=tail).data.decode("utf-8", errors="replace")
    for line in text.removesuffix("\n").split("\n") if text else ():
        yield line.partition(" ")[2]


def _is_first(pod: Object) -> bool:
    labels = pod["metadata"].get("labels", {})
    return any(labels.get(key) == value for key, value in _FIRST_POD_LABELS)
