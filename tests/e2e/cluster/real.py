"""*real*: a control plane, one node whose pods really run, the training-operator in a pod, volumes and an S3 server.

The node has the cores of this machine. Its default storage class offers volumes below the cluster's state folder.
"""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.cluster import control_plane, images, node, prometheus, training_operator, webhook
from tests.e2e.cluster.binaries import BIN, CACHE, build
from tests.e2e.cluster.cluster import NODE, Cluster, choose_place, storage_class
from tests.e2e.cluster.control_plane import Component, Place

OBJECTS = Path(__file__).parent / "objects"
VOLUMES = 16
S3_PORT = 9000
S3_KEY, S3_SECRET = "promethios", "promethios-e2e"
BUCKET = "training"
OPERATOR_IMAGE = "localhost/training-operator:1"


class RealCluster(Cluster):
    """Besides the API: what lies on its volumes and in its bucket, and its container runtime."""

    @property
    def s3_url(self) -> str:
        """The same for pods and for this machine."""
        return f"http://{self.place.address}:{S3_PORT}"

    @property
    def bucket(self) -> Path:
        """The S3 server's objects, as files."""
        return self.place.state / "s3" / BUCKET

    def volume_of(self, claim: str, namespace: str) -> Path:
        """Where this machine sees what a bound claim holds."""
        name = self.get("pvc", claim, f"--namespace={namespace}")["spec"]["volumeName"]
        return self.place.state / "volumes" / str(name)

    def ctr(self) -> list[str]:
        """containerd's command line, run in the cluster's mount namespace."""
        [containerd] = self.processes("containerd")
        inside = ["nsenter", f"--target={containerd.pid}", "--mount", "--"]
        return [*inside, "ctr", f"--address={node.SOCKET}", "--namespace=k8s.io"]


def start(*, owned: bool) -> RealCluster:
    """Bring it up, operator ready and our images loaded; warm about 30 s."""
    build()
    ours = images.built_images()
    store = CACHE / "containerd"
    store.mkdir(exist_ok=True)
    place = choose_place("real")
    node.write_configuration(place, control_plane.make_identities(place))
    for number in range(VOLUMES):
        (place.state / "volumes" / f"volume-{number}").mkdir(parents=True)
    (place.state / "s3" / BUCKET).mkdir(parents=True)
    components = {
        **control_plane.components(place),
        **node.components(place),
        "versitygw": s3_server(place),
        "prometheus": prometheus.component(place),
        "webhook": webhook.component(place),
    }
    up = RealCluster(place)
    with ExitStack() as on_failure:
        on_failure.callback(up.stop)
        up.start(components, binds=node.binds(place, store), pods=True, exclusive=store, owned=owned)
        up.wait_for_api()
        load_images(up, ours, store)
        up.wait(lambda: node_is_ready(up), "the node is ready")
        up.kubectl("create", "namespace", training_operator.NAMESPACE)
        operator = training_operator.manifests(place, image=OPERATOR_IMAGE, init_container_image=images.TRAIN)
        up.apply(*objects(place), *operator)
        for deployment, namespace in (("coredns", "kube-system"), (training_operator.NAME, "kubeflow")):
            up.kubectl("rollout", "status", f"deployment/{deployment}", f"--namespace={namespace}", "--timeout=100s")
        up.wait(lambda: webhook_answers(up), "the operator's webhook answers")
        on_failure.pop_all()
    return up


def s3_server(place: Place) -> Component:
    """versitygw over a folder; its metadata are the files' extended attributes."""
    command = [f"{BIN}/versitygw", "--port", f":{S3_PORT}", "posix", f"{place.state}/s3"]
    return Component(command, {"ROOT_ACCESS_KEY": S3_KEY, "ROOT_SECRET_KEY": S3_SECRET})


def load_images(up: RealCluster, ours: list[images.Image], store: Path) -> None:
    up.wait(lambda: up.processes("containerd"), "containerd runs")
    ctr = up.wait(lambda: answering(up), "containerd answers")
    programs = [
        images.program_image(node.PAUSE_IMAGE, "pause", "/pause"),
        images.program_image("localhost/coredns:1", "coredns", "/coredns"),
        images.program_image(OPERATOR_IMAGE, "training-operator", "/manager"),
    ]
    images.load([*programs, *ours], ctr, store)


def answering(up: RealCluster) -> list[str]:
    ctr = up.ctr()
    return ctr if subprocess.run([*ctr, "version"], capture_output=True, check=False).returncode == 0 else []


def node_is_ready(up: Cluster) -> bool:
    conditions = up.get("node", NODE)["status"]["conditions"]
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def webhook_answers(up: Cluster) -> bool:
    """Through its Service, as the API server reaches it: a server-side dry run that the webhook must refuse."""
    pod = {"spec": {"containers": [{"name": "not-pytorch", "image": "none"}]}}
    job = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "probe", "namespace": "default"},
        "spec": {"pytorchReplicaSpecs": {"Master": {"template": pod}}},
    }
    answer = up.kubectl("create", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(job), check=False)
    return "denied the request" in answer


def objects(place: Place) -> list[dict[str, Any]]:
    """DNS, the default storage class and its volumes."""
    documents = list(yaml.safe_load_all((OBJECTS / "dns.yaml").read_text()))
    return [*documents, storage_class("local"), *(volume(place, number) for number in range(VOLUMES))]


def volume(place: Place, number: int) -> dict[str, Any]:
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"volume-{number}"},
        "spec": {
            "capacity": {"storage": "1Ti"},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "local",
            "local": {"path": f"{place.state}/volumes/volume-{number}"},  # `local`, unlike hostPath, heeds fsGroup
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }
