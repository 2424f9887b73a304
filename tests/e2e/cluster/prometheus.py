"""A real Prometheus on the node, set up as Prometheus Operator would for our PodMonitor and our alerts.

Debian's Prometheus is built without discovery in Kubernetes, so `discover` tells it of the pods in that one's words.
"""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.cluster.cluster import Cluster
from tests.e2e.cluster.control_plane import Component, Place

COMPONENTS = Path(__file__).parents[3] / "manifests" / "components"
PORT = 9090
SERVING = {"job_name": "serving", "scrape_interval": "1s", "file_sd_configs": [{"files": ["serving.json"]}]}
PORT_NAME = "__meta_kubernetes_pod_container_port_name"


def component(place: Place) -> Component:
    """Prometheus with one scrape job from the PodMonitor, and the rules of the alerts."""
    folder = place.state / "prometheus"
    folder.mkdir()
    monitor = yaml.safe_load((COMPONENTS / "pod-monitor" / "pod-monitor.yaml").read_text())["spec"]
    rules = yaml.safe_load((COMPONENTS / "alerts" / "alerts.yaml").read_text())["spec"]
    (folder / "rules.json").write_text(json.dumps(rules))
    configuration = {
        "global": {"evaluation_interval": "1s"},
        "rule_files": ["rules.json"],
        "scrape_configs": [scrape_job(monitor), SERVING],
    }
    (folder / "prometheus.json").write_text(json.dumps(configuration))
    flags = [f"--config.file={folder}/prometheus.json", f"--storage.tsdb.path={folder}/data"]
    return Component(["prometheus", *flags, f"--web.listen-address={place.address}:{PORT}"])


def scrape_job(monitor: dict[str, Any]) -> dict[str, Any]:
    """What Prometheus Operator makes of a PodMonitor with one endpoint; every second, since runs are short here."""
    [endpoint] = monitor["podMetricsEndpoints"]
    wanted = {_meta_label(name): value for name, value in monitor["selector"]["matchLabels"].items()}
    wanted[PORT_NAME] = endpoint["port"]
    keep = [{"source_labels": [name], "regex": value, "action": "keep"} for name, value in wanted.items()]
    relabelings = [
        {re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", key): value for key, value in relabeling.items()}
        for relabeling in endpoint["relabelings"]
    ]
    return {
        "job_name": "training",
        "scrape_interval": "1s",
        "file_sd_configs": [{"files": ["pods.json"]}],
        "relabel_configs": [*keep, *relabelings],
    }


def discover(cluster: Cluster) -> None:
    """Tell Prometheus of the running pods' ports, with the labels that discovery in Kubernetes would give them."""
    targets = []
    for pod in cluster.items("pods", "--all-namespaces", "--field-selector=status.phase=Running"):
        labels = {_meta_label(name): value for name, value in pod["metadata"]["labels"].items()}
        for container in pod["spec"]["containers"]:
            for port in container.get("ports", ()):
                address = f"{pod['status']['podIP']}:{port['containerPort']}"
                targets.append({"targets": [address], "labels": {**labels, PORT_NAME: port.get("name", "")}})
    _write(cluster.place, "pods.json", targets)


def watch(cluster: Cluster, addresses: Iterable[str]) -> None:
    """Tell Prometheus of serving pods, as HOST:PORT, as it would learn of them from our ServiceMonitors."""
    _write(cluster.place, "serving.json", [{"targets": list(addresses)}])


def _write(place: Place, name: str, targets: list[dict[str, Any]]) -> None:
    file = place.state / "prometheus" / name
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(targets))
    partial.rename(file)


def _meta_label(name: str) -> str:
    return f"__meta_kubernetes_pod_label_{re.sub('[^a-zA-Z0-9_]', '_', name)}"


def query(place: Place, expression: str) -> list[dict[str, Any]]:
    """The series of an instant query: [{"metric": labels, "value": [time, value]}]."""
    return _get(place, f"query?{urllib.parse.urlencode({'query': expression})}")["result"]  # type: ignore[no-any-return]


def described(place: Place) -> set[str]:
    """The metric families that some target describes, whether or not they have a sample yet."""
    return set(_get(place, "metadata"))


def rules(place: Place) -> list[dict[str, Any]]:
    """Every alert with its health and state."""
    return [rule for group in _get(place, "rules")["groups"] for rule in group["rules"]]


def _get(place: Place, path: str) -> Any:
    with urllib.request.urlopen(f"http://{place.address}:{PORT}/api/v1/{path}", timeout=30) as answer:
        return json.load(answer)["data"]
