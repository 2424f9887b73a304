"""Trainings in a namespace, whichever API runs them: to find, create, stop and restart one."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import yaml
from kubeflow.training import TrainingClient, models
from kubernetes.client import V1ObjectMeta
from kubernetes.client.exceptions import ApiException

from promethios.cluster.connection import Connection, ConnectionLost, Object, Refused, plain_errors
from promethios.cluster.pods import pods_of
from promethios.cluster.submission import PYTORCH_API, Submission
from promethios.cluster.trainjob import TRAINER_API
from promethios.errors import ClusterError, nearest

KINDS: Final = {"PyTorchJob": PYTORCH_API, "TrainJob": TRAINER_API}
LABELS: Final = "app.kubernetes.io/name=promethios,app.kubernetes.io/component=training"
CANCELLED: Final = "promethios/cancelled"
"""Annotation of a job that was suspended by a person, and not by a queue."""
QUEUE_LABEL: Final = "kueue.x-k8s.io/queue-name"
DELETION_SECONDS: Final = 900
"""A pod may take its whole grace period."""
_KEPT_METADATA: Final = ("name", "namespace", "labels", "annotations")
"""What a job is created with; the rest of its metadata is the server's."""
_STATES: Final = {"Created": "Pending", "Complete": "Succeeded"}
"""Conditions whose name is not the state. A TrainJob's last one says no more than that it is there."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training job. state: Pending, Running, Restarting, Suspended, Cancelled, Succeeded or Failed."""

    name: str
    state: str
    body: Object

    @property
    def has_ended(self) -> bool:
        """True when nothing more will happen by itself."""
        return self.state in {"Succeeded", "Failed", "Cancelled"}


def list_jobs(connection: Connection) -> list[Job]:
    """Return the namespace's trainings, oldest first."""
    found = [
        {**body, "apiVersion": version, "kind": kind}  # items of a list do not say what they are
        for kind, version in KINDS.items()
        if connection.resource(version, kind) is not None
        for body in connection.items(version, kind, labels=LABELS)
    ]
    return [_job(body) for body in sorted(found, key=lambda each: str(each["metadata"]["creationTimestamp"]))]


def find_job(connection: Connection, name: str) -> Job | None:
    """Return a job, or None when there is none of that name."""
    for kind, version in KINDS.items():
        if connection.resource(version, kind) is not None and (body := connection.find(version, kind, name)):
            return _job(body)
    return None


def get_job(connection: Connection, name: str) -> Job:
    """Return a job. Raises ClusterError naming those that are there."""
    if job := find_job(connection, name):
        return job
    names = [each.name for each in list_jobs(connection)]
    raise ClusterError(
        f"{connection.where}: there is no training {name}"
        + (nearest(name, names) if names else "; `promethios submit` starts one, --namespace looks elsewhere")
    )


def submit(connection: Connection, submission: Submission) -> None:
    """Create what a job needs and the job. A namespace and a volume claim that are there stay as they are."""
    name = submission.pytorch_job["metadata"]["name"]
    if job := find_job(connection, name):
        way_out = f"`promethios resume {name}` lets it go on" if job.state in {"Failed", "Cancelled"} else "follow it"
        raise ClusterError(
            f"{connection.where}: there is a training {name} already ({job.state}); {way_out}, or choose another --name"
        )
    for each in submission.supporting:
        if each["kind"] in {"Namespace", "PersistentVolumeClaim"}:
            _create_if_absent(connection, each)
        else:
            connection.apply(each)
    for each in submission.jobs:
        if each["kind"] == "TrainingRuntime":
            connection.apply(each)
        else:
            create_job(connection, each)


def create_job(connection: Connection, body: Object) -> None:
    """Create a PyTorchJob with Kubeflow's SDK, a TrainJob, which that does not know, as a plain object."""
    if body["kind"] != "PyTorchJob":
        connection.create(body)
        return
    kubeflow = TrainingClient(client_configuration=connection.api.configuration, namespace=connection.namespace)
    metadata = V1ObjectMeta(**{key: body["metadata"].get(key) for key in _KEPT_METADATA})
    job = models.KubeflowOrgV1PyTorchJob(
        api_version=body["apiVersion"], kind=body["kind"], metadata=metadata, spec=body["spec"]
    )
    try:
        kubeflow.create_job(job)
    except RuntimeError as error:
        if isinstance(error.__cause__, ApiException):
            with plain_errors(f"PyTorchJob {body['metadata']['name']}"):
                raise error.__cause__ from None
        raise ConnectionLost(f"PyTorchJob {body['metadata']['name']}: {error}") from error


def cancel(connection: Connection, job: Job) -> None:
    """Suspend a job: its pods are told to stop, save and go. Raises ClusterError for one that has ended."""
    if job.has_ended:
        raise ClusterError(f"{job.name} is {job.state.lower()} already")
    _refuse_queued(job)
    _set_suspended(connection, job, True)


def resume(connection: Connection, job: Job) -> None:
    """Let a cancelled job go on, or create a failed one again; either goes on from its newest checkpoint.

    Raises ClusterError for a job that runs or has succeeded.
    """
    if job.state == "Cancelled":
        _set_suspended(connection, job, False)
    elif job.state == "Failed":
        _create_again(connection, job)
    else:
        raise ClusterError(f"{job.name} is {job.state.lower()}; only a cancelled or failed training can be resumed")


def _job(body: Object) -> Job:
    held = [
        condition["type"] for condition in body.get("status", {}).get("conditions", []) if condition["status"] == "True"
    ]
    ended = [each for each in held if each in {"Succeeded", "Complete", "Failed"}]
    state = (ended or held or ["Created"])[-1]
    state = _STATES.get(state, state)
    if state == "Pending" and any(each.get("active") for each in body.get("status", {}).get("jobsStatus", [])):
        state = "Running"
    if CANCELLED in body["metadata"].get("annotations", {}) and not ended:
        state = "Cancelled"
    return Job(name=body["metadata"]["name"], state=state, body=body)


def _create_if_absent(connection: Connection, body: Object) -> None:
    try:
        if connection.find(body["apiVersion"], body["kind"], body["metadata"]["name"]):
            return
    except Refused as error:
        if error.status != 403:
            raise
    try:
        connection.create(body)
    except Refused as error:
        if error.status != 409 and not (error.status == 403 and body["kind"] == "Namespace"):
            raise


def _refuse_queued(job: Job) -> None:
    if QUEUE_LABEL in job.body["metadata"].get("labels", {}):
        raise ClusterError(
            f"{job.name} is in a queue of Kueue, which would start it again; deactivate its workload instead: kubectl "
            f'patch workload NAME --type merge -p \'{{"spec":{{"active":false}}}}\''
        )


def _set_suspended(connection: Connection, job: Job, suspended: bool) -> None:
    spec = {"suspend": suspended} if job.body["kind"] == "TrainJob" else {"runPolicy": {"suspend": suspended}}
    mark = {"annotations": {CANCELLED: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) if suspended else None}}
    connection.patch(job.body["apiVersion"], job.body["kind"], job.name, {"metadata": mark, "spec": spec})


def _create_again(connection: Connection, job: Job) -> None:
    kept = {key: job.body["metadata"][key] for key in _KEPT_METADATA if key in job.body["metadata"]}
    body = {key: job.body[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": kept}
    limit = time.monotonic() + DELETION_SECONDS
    with suppress(ConnectionLost):  # done or not: it is looked at below
        connection.delete(body["apiVersion"], body["kind"], job.name)
    # From here on nobody but this process knows the job.
    try:
        while not _is_created_again(connection, body, job.body["metadata"]["uid"], limit):
            time.sleep(1)
    except (ClusterError, KeyboardInterrupt) as error:
        raise ClusterError(
            f"{job.name} is not created again: {error or 'interrupted'}\n"
            f"when it is gone and the cluster answers: kubectl create -n {connection.namespace} -f - <<'EOF'\n"
            f"{yaml.safe_dump(body, sort_keys=False)}EOF"
        ) from error


def _is_created_again(connection: Connection, body: Object, old_uid: str, limit: float) -> bool:
    """Create a job that was deleted once nothing of it is left; a cluster that does not answer is asked again."""
    name = body["metadata"]["name"]
    try:
        found = connection.find(body["apiVersion"], body["kind"], name)
        if found is None and not pods_of(connection, name):
            create_job(connection, body)
            return True
        if found is not None and found["metadata"]["uid"] != old_uid:
            return True  # by an earlier try, whose answer was lost
        if found is not None and "deletionTimestamp" not in found["metadata"]:
            connection.delete(body["apiVersion"], body["kind"], name)
        if time.monotonic() > limit:
            raise ClusterError(f"it is still being deleted after {DELETION_SECONDS} s")
    except ConnectionLost:
        if time.monotonic() > limit:
            raise
    return False
