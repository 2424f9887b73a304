"""Every overlay on a real API server and scheduler, with the real training-operator; the nodes' GPUs are simulated."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.cluster import jobs, light
from tests.e2e.cluster.cluster import Cluster
from tests.e2e.cluster.jobs import JOB, MANIFESTS, NAMESPACE

pytestmark = pytest.mark.e2e

OVERLAYS = sorted(path.name for path in (MANIFESTS / "overlays").iterdir())
GPUS = "nvidia.com/gpu"
VARIANTS = "variants"  # a namespace


@pytest.fixture(scope="module")
def gpu_job(light_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The 8xA100-40GB job, to be varied, in a namespace with everything in it but the job."""
    overlay = jobs.write_overlay(tmp_path_factory.mktemp("overlays") / "variants", "8xa100-40gb", namespace=VARIANTS)
    with jobs.applied(light_cluster, overlay):
        light_cluster.kubectl("delete", "pytorchjob", JOB, f"--namespace={VARIANTS}", "--wait")
        yield jobs.job_of(jobs.render(overlay))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_admitted_under_restricted_and_all_its_pods_get_a_node(
    light_cluster: Cluster, overlay: str
) -> None:
    expected = jobs.job_of(jobs.render(MANIFESTS / "overlays" / overlay))["spec"]["pytorchReplicaSpecs"]
    with jobs.applied(light_cluster, MANIFESTS / "overlays" / overlay):
        labels = light_cluster.get("namespace", NAMESPACE)["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        # A job is Running as soon as its master is: the other pods' nodes are waited for by themselves.
        light_cluster.wait(
            lambda: (
                len(nodes := [pod["spec"]["nodeName"] for pod in jobs.pods(light_cluster)]) == len(expected)
                and all(node.startswith("gpu-") for node in nodes)
            ),
            "every pod has one of the simulated nodes",
            explain=lambda: jobs.events(light_cluster),
        )
        light_cluster.wait(
            lambda: jobs.condition(light_cluster, "Running"), "the job runs", explain=lambda: jobs.events(light_cluster)
        )
        found = jobs.pods(light_cluster)
        gpus = "0" if overlay.startswith("cpu") else "8"
        limits = [pod["spec"]["containers"][0]["resources"]["limits"].get(GPUS, "0") for pod in found]
        assert limits == [gpus] * len(expected)


def test_the_namespace_refuses_a_pod_with_more_rights_than_the_manifests_ask_for(
    light_cluster: Cluster, gpu_job: dict[str, Any]
) -> None:
    job = copy.deepcopy(gpu_job)
    job["metadata"]["name"] = "privileged"
    pod = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]
    pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    light_cluster.apply(job)
    light_cluster.wait(
        lambda: "violates PodSecurity" in jobs.events(light_cluster, VARIANTS), "the refusal is reported"
    )
    assert jobs.pods(light_cluster, "privileged", VARIANTS) == []


def rename_container(job: dict[str, Any]) -> None:
    job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0]["name"] = "train"


def two_masters(job: dict[str, Any]) -> None:
    job["spec"]["pytorchReplicaSpecs"]["Master"]["replicas"] = 2


def name_no_dns_label(job: dict[str, Any]) -> None:
    job["metadata"]["name"] = "8b.training"


def elastic_without_workers(job: dict[str, Any]) -> None:
    job["spec"]["elasticPolicy"] = {"minReplicas": 1, "maxReplicas": 2}


def processes_as_number(job: dict[str, Any]) -> None:
    job["spec"]["nprocPerNode"] = 8


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (rename_container, "must have at least one container with name pytorch"),
        (two_masters, "must be 1"),
        (name_no_dns_label, "DNS-1035"),
        (elastic_without_workers, "Worker"),
        (processes_as_number, "nprocPerNode"),
    ],
)
def test_an_invalid_job_is_rejected_and_the_server_says_why(
    light_cluster: Cluster, gpu_job: dict[str, Any], change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    job = copy.deepcopy(gpu_job)
    change(job)
    with pytest.raises(RuntimeError, match=reason):
        light_cluster.apply(job)


def test_a_second_job_waits_until_the_first_gives_the_gpus_back(
    light_cluster: Cluster, gpu_job: dict[str, Any]
) -> None:
    def phase(name: str) -> str:
        found = jobs.pods(light_cluster, name, VARIANTS)
        return str(found[0]["status"]["phase"]) if found else "none"

    def submit(name: str) -> None:
        light_cluster.apply({**gpu_job, "metadata": {**gpu_job["metadata"], "name": name}})
        light_cluster.wait(lambda: phase(name) != "none", f"the {name} job has a pod")

    submit("first")
    light_cluster.wait(lambda: phase("first") == "Running", "the first job runs")
    submit("second")
    missing = f"Insufficient {GPUS}"
    light_cluster.wait(lambda: missing in jobs.events(light_cluster, VARIANTS), "the scheduler says what is missing")
    assert phase("second") == "Pending"
    light_cluster.kubectl("annotate", "pod", "first-master-0", f"{light.EXIT_CODE}=0", f"--namespace={VARIANTS}")
    light_cluster.wait(lambda: phase("second") == "Running", "the second job runs")
    assert jobs.condition(light_cluster, "Succeeded", "first", VARIANTS)
