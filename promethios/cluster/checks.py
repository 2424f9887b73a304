"""What is looked at in a cluster before anything is created: what would only show as a pod that never starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from kubernetes.utils.quantity import parse_quantity

from promethios.cluster.connection import Connection, Object, Refused
from promethios.cluster.fit import pod_resources, why_not
from promethios.cluster.submission import PYTORCH_API, Submission, pod_specs
from promethios.cluster.trainjob import TRAINER_API
from promethios.errors import ClusterError

_DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
_FOLLOWING: Final = (("list", "pods", ""), ("get", "pods", "log"), ("list", "events", ""))
_INSTALL: Final = {
    PYTORCH_API: "install Kubeflow's training-operator (1.9)",
    TRAINER_API: "install Kubeflow Trainer (2.3)",
}
_SHOWN_NODES: Final = 5


@dataclass
class Findings:
    """problems: why the job would not run. unknown: what the user may not look at, so that it was not checked."""

    problems: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def check(connection: Connection, submission: Submission, *, allow_pending: bool) -> Findings:
    """Look at APIs, rights, storage, quota and nodes. allow_pending: nodes that fit need not be there yet.

    Raises ClusterError when the cluster does not answer or lacks the job's API.
    """
    _require_api(connection, submission)
    findings = Findings([*_rights(connection, submission)])
    looks = [("storage classes", _storage), ("quotas", _quota)]
    if not allow_pending:
        looks.append(("nodes", _nodes))
    for what, look in looks:
        try:
            findings.problems += look(connection, submission)
        except Refused as error:
            if error.status != 403:
                raise
            findings.unknown.append(f"you may not list {what} here, so they were not checked")
    return findings


def _require_api(connection: Connection, submission: Submission) -> None:
    job = submission.jobs[-1]
    for each in submission.jobs:
        if connection.resource(each["apiVersion"], each["kind"]) is None:
            others = {"PyTorchJob": (PYTORCH_API, "pytorchjob"), "TrainJob": (TRAINER_API, "trainjob")}
            there = [
                f"--api {api}"
                for kind, (version, api) in others.items()
                if kind != job["kind"] and connection.resource(version, kind) is not None
            ]
            way_out = f"use {there[0]}, which it has" if there else _INSTALL[each["apiVersion"]]
            raise ClusterError(
                f"{connection.where}: the cluster has no {each['kind']} ({each['apiVersion']}); {way_out}"
            )


def _rights(connection: Connection, submission: Submission) -> Iterator[str]:
    for each in submission.objects:
        kind, name = each["kind"], each["metadata"]["name"]
        resource = connection.resource(each["apiVersion"], kind)
        if resource is None:
            yield f"{kind} {name}: the cluster has no {each['apiVersion']}; leave its component out of the overlay"
            continue
        if kind == "Namespace" and _may_be_there(connection, name):
            continue
        # Applying is a patch, which creates what is not there.
        for verb in ("create",) if each in submission.jobs or kind in _KEPT else ("create", "patch"):
            if not connection.may(verb, resource.name, group=resource.group, namespaced=resource.namespaced):
                yield f"you may not {verb} {resource.name} in {connection.where}; ask who runs the cluster"
    for verb, name, subresource in _FOLLOWING:
        if not connection.may(verb, name, subresource=subresource):
            yield f"you may not {verb} {'/'.join(filter(None, (name, subresource)))}, which following a job needs"


_KEPT: Final = frozenset({"Namespace", "PersistentVolumeClaim"})
"""Kinds that are left as they are when they are there."""


def _may_be_there(connection: Connection, namespace: str) -> bool:
    """Return False only when there is surely no such namespace; who may not look is expected to have one."""
    try:
        return connection.find("v1", "Namespace", namespace) is not None
    except Refused:
        return True


def _storage(connection: Connection, submission: Submission) -> Iterator[str]:
    for claim in submission.supporting:
        if claim["kind"] != "PersistentVolumeClaim":
            continue
        name, wanted = claim["metadata"]["name"], claim["spec"].get("storageClassName")
        if connection.find("v1", "PersistentVolumeClaim", name) or wanted == "":
            continue
        classes = {each["metadata"]["name"]: each for each in connection.items("storage.k8s.io/v1", "StorageClass")}
        if wanted is not None and wanted not in classes:
            yield f"volume claim {name}: no storage class {wanted}; there are: {', '.join(classes) or 'none'}"
        if wanted is None and not any(_is_default(each) for each in classes.values()):
            yield (
                f"volume claim {name}: it names no storage class and the cluster has no default one; set "
                f"storageClassName to one of: {', '.join(classes) or 'none is there, ask who runs the cluster'}"
            )


def _is_default(storage_class: Object) -> bool:
    return bool(storage_class["metadata"].get("annotations", {}).get(_DEFAULT_CLASS) == "true")


def _quota(connection: Connection, submission: Submission) -> Iterator[str]:
    wanted = _wanted(connection, submission)
    for quota in connection.items("v1", "ResourceQuota"):
        if quota["spec"].get("scopes") or quota["spec"].get("scopeSelector"):
            continue  # of some pods only
        for name, hard in quota.get("status", {}).get("hard", {}).items():
            used = parse_quantity(quota["status"].get("used", {}).get(name, 0))
            if name in wanted and used + wanted[name] > parse_quantity(hard):
                yield (
                    f"quota {quota['metadata']['name']}: {name} has {hard}, {quota['status']['used'].get(name, 0)} in "
                    f"use, and the job takes {float(wanted[name]):g} more"
                )


def _wanted(connection: Connection, submission: Submission) -> dict[str, Decimal]:
    """Return what the job takes of each resource, as quotas name them."""
    wanted: dict[str, Decimal] = {}

    def add(name: str, amount: Decimal) -> None:
        wanted[name] = wanted.get(name, Decimal(0)) + amount

    for number, pod in pod_specs(submission.pytorch_job):
        add("pods", Decimal(number))
        for which in ("requests", "limits"):
            for name, amount in pod_resources(pod, which).items():
                add(f"{which}.{name}", number * amount)
                if which == "requests":
                    add(name, number * amount)  # the short form: cpu, memory
    for claim in submission.supporting:
        if claim["kind"] == "PersistentVolumeClaim" and not connection.find(
            "v1", claim["kind"], claim["metadata"]["name"]
        ):
            add("persistentvolumeclaims", Decimal(1))
            add("requests.storage", parse_quantity(claim["spec"]["resources"]["requests"]["storage"]))
    return wanted


def _nodes(connection: Connection, submission: Submission) -> Iterator[str]:
    nodes = connection.items("v1", "Node")
    for _, pod in pod_specs(submission.pytorch_job):
        reasons = {node["metadata"]["name"]: why_not(pod, node) for node in nodes}
        if None not in reasons.values():
            yield (
                f"no node could ever run the job's pod: {_listed(reasons)}; if nodes that fit come when they are "
                "wanted, say --allow_pending"
            )
            return


def _listed(reasons: dict[str, str | None]) -> str:
    """Return which nodes have which reason; nodes of one kind have one."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        by_reason.setdefault(reason or "", []).append(name)
    return "; ".join(f"{_some(names)}: {reason}" for reason, names in by_reason.items()) or "the cluster has none"


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN_NODES
    return ", ".join(names[:_SHOWN_NODES]) + (f" and {rest} more" if rest > 0 else "")
