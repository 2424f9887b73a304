"""Whether a pod could ever run on a node: size, labels and taints, as the scheduler filters, without its other pods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from promethios.cluster.connection import Object

Resources = dict[str, Decimal]


def pod_resources(pod: Object, which: str) -> Resources:
    """Return what a pod takes of each resource. which: `requests` or `limits`.

    That of its containers together, or of one init container where that is more. A resource that is only limited is
    requested as well.
    """
    together: Resources = {}
    for container in pod["containers"]:
        for name, amount in _resources(container, which).items():
            together[name] = together.get(name, Decimal(0)) + amount
    for container in pod.get("initContainers", []):
        for name, amount in _resources(container, which).items():
            together[name] = max(together.get(name, Decimal(0)), amount)
    return together


def why_not(pod: Object, node: Object) -> str | None:
    """Return why a pod cannot run on a node even when it is empty, or None when it can."""
    offered = node["status"].get("allocatable", {})
    labels = node["metadata"].get("labels", {})
    for name, amount in pod_resources(pod, "requests").items():
        if parse_quantity(offered.get(name, 0)) < amount:
            return f"{offered.get(name, 'no')} {name}, {_plain(amount)} wanted"
    if missing := [f"{key}={value}" for key, value in pod.get("nodeSelector", {}).items() if labels.get(key) != value]:
        return f"no label {missing[0]}"
    if not _affine(pod, labels):
        return "none of the labels that the node affinity asks for"
    for taint in _hard_taints(node):
        if not any(_tolerates(each, taint) for each in pod.get("tolerations", [])):
            return f"taint {taint['key']}:{taint['effect']}"
    return None


def _resources(container: Object, which: str) -> Resources:
    given = container.get("resources", {})
    amounts = (
        {**given.get("limits", {}), **given.get("requests", {})} if which == "requests" else given.get("limits", {})
    )
    return {name: parse_quantity(amount) for name, amount in amounts.items()}


def _plain(amount: Decimal) -> str:
    if amount >= 2**30 and amount % 2**20 == 0:
        return f"{float(amount / 2**30):g}Gi"
    return f"{float(amount):g}"


def _affine(pod: Object, labels: Mapping[str, str]) -> bool:
    affinity = pod.get("affinity", {}).get("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(
        all(_matches(rule, labels) for rule in term.get("matchExpressions", []))
        for term in required["nodeSelectorTerms"]
    )


def _matches(rule: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value, operator, values = labels.get(rule["key"]), rule["operator"], rule.get("values", [])
    if operator in {"In", "NotIn"}:
        return bool((value in values) == (operator == "In"))
    if operator in {"Exists", "DoesNotExist"}:
        return bool((value is not None) == (operator == "Exists"))
    if value is None or not value.lstrip("-").isdigit():
        return False
    return int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])


def _hard_taints(node: Object) -> Iterator[Mapping[str, str]]:
    for taint in node.get("spec", {}).get("taints", []):
        if taint["effect"] != "PreferNoSchedule":
            yield taint


def _tolerates(toleration: Mapping[str, str], taint: Mapping[str, str]) -> bool:
    if toleration.get("effect", taint["effect"]) != taint["effect"]:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key", taint["key"]) == taint["key"]
    return toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", "")
