"""A node fits as the scheduler has it: size, labels, affinity, taints; not what runs on it."""

from __future__ import annotations

from typing import Any

import pytest

from promethios.cluster.fit import pod_resources, why_not

NODE = {
    "metadata": {"name": "gpu-0", "labels": {"gpu": "a100", "count": "8"}},
    "spec": {"taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]},
    "status": {"allocatable": {"cpu": "95900m", "memory": "1000Gi", "nvidia.com/gpu": "8"}},
}
TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists"}


def pod(**spec: Any) -> dict[str, Any]:
    container = {"name": "pytorch", "resources": {"requests": {"cpu": "64"}, "limits": {"nvidia.com/gpu": "8"}}}
    return {"containers": [container], "tolerations": [TOLERATION], **spec}


def affinity(*rules: dict[str, Any]) -> dict[str, Any]:
    terms = [{"matchExpressions": [rule]} for rule in rules]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def asking(name: str, amount: str) -> list[dict[str, Any]]:
    return [{"name": "pytorch", "resources": {"limits": {name: amount}}}]


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (pod(), None),
        (pod(containers=asking("cpu", "96")), "95900m cpu, 96 wanted"),
        (pod(containers=asking("memory", "1001Gi")), "1000Gi memory, 1001Gi wanted"),
        (pod(containers=asking("nvidia.com/gpu", "16")), "8 nvidia.com/gpu, 16 wanted"),
        (pod(containers=asking("rdma/ib", "1")), "no rdma/ib, 1 wanted"),
        (pod(nodeSelector={"gpu": "a100"}), None),
        (pod(nodeSelector={"gpu": "h100"}), "no label gpu=h100"),
        (pod(tolerations=[]), "taint nvidia.com/gpu:NoSchedule"),
        (pod(tolerations=[{"key": "nvidia.com/gpu", "value": "absent"}]), "taint nvidia.com/gpu:NoSchedule"),
        (pod(tolerations=[{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]), None),
        (pod(tolerations=[{"operator": "Exists"}]), None),
        (pod(affinity=affinity({"key": "gpu", "operator": "In", "values": ["a100"]})), None),
        (pod(affinity=affinity({"key": "gpu", "operator": "NotIn", "values": ["a100"]})), "none of the labels"),
        (pod(affinity=affinity({"key": "gpu", "operator": "DoesNotExist"})), "none of the labels"),
        (pod(affinity=affinity({"key": "x", "operator": "Exists"}, {"key": "gpu", "operator": "Exists"})), None),
        (pod(affinity=affinity({"key": "count", "operator": "Gt", "values": ["7"]})), None),
        (pod(affinity=affinity({"key": "count", "operator": "Lt", "values": ["8"]})), "none of the labels"),
    ],
)
def test_a_node_fits_or_the_reason_is_told(spec: dict[str, Any], reason: str | None) -> None:
    found = why_not(spec, NODE)
    assert found is None if reason is None else reason in str(found)


def test_a_pod_takes_its_containers_together_or_its_largest_init_container() -> None:
    sizes = [{"name": str(n), "resources": {"requests": {"cpu": f"{n}", "memory": "1Gi"}}} for n in (1, 2)]
    first = {"name": "data", "resources": {"requests": {"cpu": "500m", "memory": "4Gi"}}}
    found = pod_resources({"containers": sizes, "initContainers": [first]}, "requests")
    assert found == {"cpu": 3, "memory": 4 * 2**30}
