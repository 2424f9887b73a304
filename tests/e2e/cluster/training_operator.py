"""The Kubeflow training-operator's own manifests, for an operator inside the cluster or a process beside it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.cluster.binaries import BIN, SHARE
from tests.e2e.cluster.control_plane import Component, Place

NAMESPACE = "kubeflow"
NAME = "training-operator"
IMAGE = "ghcr.io/kubeflow/training-v1/training-operator"
# What the operator puts before every worker: upstream's has no security context, and `restricted` refuses it.
RESTRICTED_WORKERS = Path(__file__).parents[3] / "manifests" / "cluster" / "restricted-workers"
CONTAINER = "/spec/template/spec/containers/0"
CERTIFICATES = "/tmp/k8s-webhook-server/serving-certs"  # fixed in the operator


def manifests(place: Place, *, image: str = "", init_container_image: str = "") -> list[dict[str, Any]]:
    """CRDs, RBAC, secret, service, webhooks and deployment as upstream ships them, as a user would patch them."""
    overlay = place.state / "training-operator"
    overlay.mkdir()
    patch = [
        {"op": "add", "path": f"{CONTAINER}/args", "value": [f"--pytorch-init-container-image={init_container_image}"]},
        {"op": "replace", "path": f"{CONTAINER}/readinessProbe/initialDelaySeconds", "value": 1},
        {"op": "replace", "path": f"{CONTAINER}/readinessProbe/periodSeconds", "value": 1},
    ]
    name, _, tag = image.partition(":")
    kustomization = {
        "resources": [os.path.relpath(SHARE / "training-operator" / "overlays" / "standalone", overlay)],
        "components": [os.path.relpath(RESTRICTED_WORKERS, overlay)],
        "images": [{"name": IMAGE, "newName": name, "newTag": tag}],
        "patches": [{"target": {"kind": "Deployment"}, "patch": json.dumps(patch)}],
    }
    (overlay / "kustomization.yaml").write_text(json.dumps(kustomization))
    text = subprocess.check_output([str(BIN / "kubectl"), "kustomize", str(overlay)], text=True)
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]  # the pure loader takes 10 s


def component(place: Place, init_container_image: str) -> Component:
    """The operator as a process of the control plane, for a cluster in which no pod really runs."""
    flags = [f"--kubeconfig={place.kubeconfig('admin')}", "--zap-log-level=info"]
    flags += [f"--pytorch-init-container-template-file={RESTRICTED_WORKERS}/initContainer.yaml"]
    flags += [f"--pytorch-init-container-image={init_container_image}"]
    # The defaults (20 requests/s) make 200 jobs wait for the operator alone.
    flags += ["--kube-api-qps=200", "--kube-api-burst=400", "--controller-threads=4"]
    return Component([f"{BIN}/training-operator", *flags], {"MY_POD_NAMESPACE": NAMESPACE})


def manifests_without_deployment(place: Place) -> list[dict[str, Any]]:
    """For component(): the webhook's service leads to the node's address."""
    objects = [item for item in manifests(place) if item["kind"] != "Deployment"]
    ports = []
    for item in objects:
        if item["kind"] == "Service":
            del item["spec"]["selector"]
            ports = [{"name": port["name"], "port": port["targetPort"]} for port in item["spec"]["ports"]]
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{NAME}-process",
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": NAME},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [place.address], "conditions": {"ready": True}}],
        "ports": ports,
    }
    return [*objects, endpoints]
