"""Custom resources of the chart and the manifests, as their projects define them: versions in programs/definitions."""

from __future__ import annotations

from tests.e2e.cluster.binaries import SHARE
from tests.e2e.cluster.cluster import Cluster

FILES = {
    "servicemonitors.monitoring.coreos.com": "prometheus-operator/monitoring.coreos.com_servicemonitors.yaml",
    "podmonitors.monitoring.coreos.com": "prometheus-operator/monitoring.coreos.com_podmonitors.yaml",
    "prometheusrules.monitoring.coreos.com": "prometheus-operator/monitoring.coreos.com_prometheusrules.yaml",
    "scaledobjects.keda.sh": "keda/keda.sh_scaledobjects.yaml",
    "httproutes.gateway.networking.k8s.io": "gateway-api/gateway.networking.k8s.io_httproutes.yaml",
    "gateways.gateway.networking.k8s.io": "gateway-api/gateway.networking.k8s.io_gateways.yaml",
}


def install(cluster: Cluster) -> None:
    """Make them known to the API server; returns when it serves them all. Their controllers are not there."""
    cluster.kubectl("apply", "--server-side", *(f"--filename={SHARE / path}" for path in FILES.values()))
    cluster.kubectl("wait", "--for=condition=Established", *(f"crd/{name}" for name in FILES), "--timeout=60s")
