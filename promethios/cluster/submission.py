"""What `promethios submit` creates: the rendered objects with the job's name, its own settings and its overrides."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import yaml

from promethios.cluster.connection import Object
from promethios.cluster.trainjob import train_job
from promethios.errors import ClusterError

PYTORCH_API: Final = "kubeflow.org/v1"
APIS: Final = {"pytorchjob": "PyTorchJob", "trainjob": "TrainJob"}
_NAME: Final = re.compile(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?")
"""DNS-1035, of 63 letters, for the operator makes Services and host names of it: NAME-worker-100, NAME-node-0-100."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """pytorch_job: the job as rendered. supporting: what it needs. jobs: it in the API that was asked for, last."""

    pytorch_job: Object
    supporting: list[Object]
    jobs: list[Object]

    @property
    def objects(self) -> list[Object]:
        """Everything, in the order of creation."""
        return [*self.supporting, *self.jobs]

    @property
    def settings(self) -> dict[str, str]:
        """The training container's settings, from its ConfigMaps."""
        found: dict[str, str] = {}
        names = {entry["configMapRef"]["name"] for entry in _config_map_entries(self.pytorch_job)}
        for each in self.supporting:
            if each["kind"] == "ConfigMap" and each["metadata"]["name"] in names:
                found |= each.get("data", {})
        return found

    def to_yaml(self) -> str:
        """Return all objects as YAML documents, as `kubectl apply -f -` takes them."""
        return yaml.safe_dump_all(self.objects, sort_keys=False)


def prepare(rendered: Sequence[Object], *, name: str | None, overrides: Sequence[str], api: str) -> Submission:
    """Return what to create. name: of the job, instead of its own. overrides: `section.key=value` of the training.

    A ConfigMap that the job reads its settings from becomes the job's own, by name: the next submission cannot change
    them under a job whose pods are started again. Raises ClusterError.
    """
    objects = copy.deepcopy(list(rendered))
    found = [each for each in objects if each["kind"] == "PyTorchJob"]
    if len(found) != 1:
        raise ClusterError(f"the overlay has {len(found)} objects of kind PyTorchJob; it must have one")
    job = found[0]
    supporting = [each for each in objects if each is not job]
    if name is not None and name != job["metadata"]["name"]:
        _rename(job, supporting, name)
    if not _NAME.fullmatch(job["metadata"]["name"]):
        raise ClusterError(f"--name {job['metadata']['name']}: 1 to 50 of a-z, 0-9 and -, beginning with a letter")
    for container in containers(job):
        for override in overrides:
            container.setdefault("args", []).extend(["--set", override])
    jobs = [job] if api == "pytorchjob" else train_job(job)
    return Submission(pytorch_job=job, supporting=supporting, jobs=jobs)


def pod_specs(job: Object) -> list[tuple[int, Object]]:
    """Return number and spec of the pods of each replica of a PyTorchJob, the Master's first."""
    replicas = job["spec"]["pytorchReplicaSpecs"]
    return [
        (replicas[kind].get("replicas", 1), replicas[kind]["template"]["spec"])
        for kind in ("Master", "Worker")
        if kind in replicas
    ]


def containers(job: Object) -> Iterator[Object]:
    """Yield the training containers of a PyTorchJob."""
    for _, pod in pod_specs(job):
        yield from (container for container in pod["containers"] if container["name"] == "pytorch")


def _rename(job: Object, supporting: Sequence[Object], name: str) -> None:
    old = job["metadata"]["name"]
    job["metadata"]["name"] = name
    for each in supporting:
        if each["kind"] == "ConfigMap" and each["metadata"]["name"] == old:
            each["metadata"]["name"] = name
    for entry in _config_map_entries(job):
        if entry["configMapRef"]["name"] == old:
            entry["configMapRef"]["name"] = name


def _config_map_entries(job: Object) -> Iterator[Object]:
    for _, pod in pod_specs(job):
        for container in (*pod.get("initContainers", []), *pod["containers"]):
            yield from (entry for entry in container.get("envFrom", []) if "configMapRef" in entry)
