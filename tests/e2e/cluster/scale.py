"""Many jobs at once on simulated nodes, each of which has room for one of them."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from tests.e2e.cluster import jobs, light
from tests.e2e.cluster.cluster import Cluster

NAMESPACE = "scale"
LABEL = {"promethios.e2e/scale": "true"}
TIMEOUT_SECONDS = 300


class Outcome(NamedTuple):
    """nodes: of the jobs' pods while all of them ran. Seconds count from the moment when the jobs were submitted."""

    nodes: list[str]
    succeeded: int
    seconds_to_all_running: float
    seconds_to_all_succeeded: float


def run_jobs(cluster: Cluster, count: int) -> Outcome:
    """Submit `count` jobs to as many nodes, let all run at once, and end them well."""
    objects = jobs.render(jobs.MANIFESTS / "overlays" / "8xa100-40gb")
    with nodes(cluster, count):
        cluster.apply(*supporting(objects))
        started = time.monotonic()
        cluster.apply(*(job(objects, number) for number in range(count)))
        found = cluster.wait(
            lambda: running_on(cluster, count), "all jobs run", TIMEOUT_SECONDS, lambda: jobs.events(cluster, NAMESPACE)
        )
        running = time.monotonic() - started
        cluster.kubectl("annotate", "pods", "--all", f"--namespace={NAMESPACE}", f"{light.EXIT_CODE}=0")
        cluster.wait(lambda: succeeded(cluster) == count, "all jobs succeeded", TIMEOUT_SECONDS)
        return Outcome(found, succeeded(cluster), running, time.monotonic() - started)


@contextmanager
def nodes(cluster: Cluster, count: int) -> Iterator[None]:
    """As many machines, and a namespace; both are removed again."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    cluster.apply(namespace, *(light.node(f"scale-{number}", light.PRODUCTS[0], **LABEL) for number in range(count)))
    try:
        yield
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait", timeout=TIMEOUT_SECONDS)
        cluster.kubectl("delete", "nodes", *(f"--selector={key}={value}" for key, value in LABEL.items()))


def supporting(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a job's pod refers to."""
    return [
        {**item, "metadata": {**item["metadata"], "namespace": NAMESPACE}}
        for item in objects
        if item["kind"] in ("ServiceAccount", "ConfigMap")
    ]


def job(objects: list[dict[str, Any]], number: int) -> dict[str, Any]:
    """The overlay's job under a name of its own, with no volume in common: that one belongs to one node."""
    found = copy.deepcopy(jobs.job_of(objects))
    found["metadata"] |= {"name": f"job-{number}", "namespace": NAMESPACE}
    pod = found["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]
    pod["nodeSelector"] = LABEL
    pod["volumes"] = [
        {"name": volume["name"], "emptyDir": {}} if "persistentVolumeClaim" in volume else volume
        for volume in pod["volumes"]
    ]
    return found


def running_on(cluster: Cluster, count: int) -> list[str]:
    """The nodes of the running pods, once all of them run."""
    found = cluster.items("pods", f"--namespace={NAMESPACE}", "--field-selector=status.phase=Running")
    return [pod["spec"]["nodeName"] for pod in found] if len(found) == count else []


def succeeded(cluster: Cluster) -> int:
    found = cluster.items("pytorchjobs", f"--namespace={NAMESPACE}")
    return sum(
        any(item["type"] == "Succeeded" and item["status"] == "True" for item in job["status"]["conditions"])
        for job in found
    )
