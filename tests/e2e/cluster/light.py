"""*light*: the control plane, the training-operator as a process, and simulated (kwok) nodes with 8 GPUs each.

Admission, scheduling and the operator are real; no pod runs. A pod ends with the exit code that the annotation
promethios.e2e/exit-code gives it.
"""

from __future__ import annotations

import base64
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.e2e.cluster import cluster, control_plane, training_operator
from tests.e2e.cluster.binaries import BIN, SHARE, build
from tests.e2e.cluster.control_plane import Component, Place

STAGES = ["node/fast/node-initialize", "node/heartbeat-with-lease/node-heartbeat-with-lease"]
STAGES += ["pod/fast/pod-ready", "pod/fast/pod-delete"]
PRODUCTS = ["NVIDIA-A100-SXM4-40GB", "NVIDIA-A100-SXM4-80GB", "NVIDIA-H100-80GB-HBM3"]
VOLUMES = 50
EXIT_CODE = "promethios.e2e/exit-code"


def start(*, owned: bool) -> cluster.Cluster:
    """Bring it up, operator ready; about 10 s."""
    build()
    place = cluster.choose_place("light")
    control_plane.make_identities(place)
    certificates = place.state / "operator-certificates"
    certificates.mkdir()
    binds = {training_operator.CERTIFICATES: str(certificates)}
    components = {
        **control_plane.components(place),
        "training-operator": training_operator.component(place, "promethios/train"),
        "kwok": kwok(place),
    }
    up = cluster.Cluster(place)
    with ExitStack() as on_failure:
        on_failure.callback(up.stop)
        up.start(components, binds=binds, pods=False, owned=owned)
        up.wait_for_api()
        up.kubectl("create", "namespace", training_operator.NAMESPACE)
        up.apply(*training_operator.manifests_without_deployment(place), *volumes())
        up.apply(*(node(f"gpu-{number}", product) for number, product in enumerate(PRODUCTS)))
        up.wait(lambda: operator_is_ready(up), "the training-operator is ready")
        on_failure.pop_all()
    return up


def kwok(place: Place) -> Component:
    stages = [f"--config={SHARE}/kwok-stages/{name}.yaml" for name in STAGES]
    ours = Path(__file__).parent / "objects" / "pods-end-when-told.yaml"
    return Component(
        [
            *(f"{BIN}/kwok", f"--kubeconfig={place.kubeconfig('admin')}", "--manage-all-nodes=false"),
            *("--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake", "--node-lease-duration-seconds=40"),
            *("--cidr=10.245.0.0/16", *stages, f"--config={ours}"),
        ]
    )


def node(name: str, product: str, **labels: str) -> dict[str, Any]:
    """A simulated machine with 8 GPUs, labelled as GPU feature discovery labels a real one."""
    capacity = {"cpu": "96", "memory": "1Ti", "ephemeral-storage": "2Ti", "pods": "110", "nvidia.com/gpu": "8"}
    labels |= {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "nvidia.com/gpu.product": product}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "status": {"capacity": capacity, "allocatable": capacity},
    }


def volumes() -> list[dict[str, Any]]:
    """A default storage class, and enough volumes for the claims of a session."""
    volume = {
        "capacity": {"storage": "10Ti"},
        "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": "simulated",
        "hostPath": {"path": "/nowhere"},
    }
    kind = {"apiVersion": "v1", "kind": "PersistentVolume"}
    return [
        cluster.storage_class("simulated"),
        *({**kind, "metadata": {"name": f"simulated-{n}"}, "spec": volume} for n in range(VOLUMES)),
    ]


def operator_is_ready(up: cluster.Cluster) -> bool:
    """Copy the webhook's certificates to the operator, as the kubelet does for a pod, and ask whether it serves."""
    secret = up.get("secret", "training-operator-webhook-cert", "--namespace=kubeflow").get("data", {})
    for name, value in secret.items():
        (up.place.state / "operator-certificates" / name).write_bytes(base64.b64decode(value))
    try:
        with urllib.request.urlopen(f"http://{up.place.address}:8081/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
