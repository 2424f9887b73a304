"""The pods: `restricted`, read-only, pinned, and in the shape that the other parts of the project rely on."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

import promethios
from tests.manifests.rendered import (
    COMPONENTS,
    GPU_OVERLAYS,
    OVERLAYS,
    Object,
    containers,
    one,
    overlay,
    pod_templates,
    quantity,
    training_pod,
    with_components,
)

NUM_GPUS = 8
RESTRICTED_VOLUMES = {"configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"}


@pytest.fixture(scope="module", params=[*OVERLAYS, "everything"])
def templates(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    """The pod templates of each overlay, and of one with all components."""
    if request.param != "everything":
        return pod_templates(overlay(request.param))
    return pod_templates(with_components(tmp_path_factory.mktemp("overlay"), "8xa100-40gb", COMPONENTS))


def test_every_pod_is_restricted_with_a_read_only_root_and_no_token(templates: list[Object]) -> None:
    for template in templates:
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert {kind for volume in spec["volumes"] for kind in set(volume) - {"name"}} <= RESTRICTED_VOLUMES
        for container in containers(template):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_every_image_is_ours_in_this_version(templates: list[Object]) -> None:
    for template in templates:
        assert {each["image"] for each in containers(template)} == {f"promethios/train:{promethios.__version__}"}


def test_every_container_has_requests_and_a_memory_limit_and_every_scratch_volume_a_size(
    templates: list[Object],
) -> None:
    for template in templates:
        for container in containers(template):
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]
        empty = [volume["emptyDir"] for volume in template["spec"]["volumes"] if "emptyDir" in volume]
        assert all("sizeLimit" in each for each in empty)


@pytest.mark.parametrize("name", GPU_OVERLAYS)
def test_a_gpu_overlay_is_one_master_with_all_gpus_of_a_node(name: str) -> None:
    job = one(overlay(name), "PyTorchJob")
    assert list(job["spec"]["pytorchReplicaSpecs"]) == ["Master"]
    assert job["spec"]["nprocPerNode"] == str(NUM_GPUS)
    assert job["metadata"]["annotations"]["promethios/node"] == name
    [container] = training_pod(overlay(name))["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == str(NUM_GPUS)


def test_gpu_overlays_differ_only_in_their_nodes() -> None:
    jobs = []
    for name in GPU_OVERLAYS:
        job = copy.deepcopy(one(overlay(name), "PyTorchJob"))
        del job["metadata"]["annotations"]["promethios/node"]
        affinity = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"].pop("affinity")
        terms = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        assert [term["matchExpressions"][0]["key"] for term in terms] == [
            "nvidia.com/gpu.product",
            "cloud.google.com/gke-accelerator",
            "node.kubernetes.io/instance-type",
        ]
        jobs.append(job)
    assert jobs[0] == jobs[1] == jobs[2]


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_training_container_is_what_operator_script_and_ledger_expect(name: str) -> None:
    for replica in one(overlay(name), "PyTorchJob")["spec"]["pytorchReplicaSpecs"].values():
        assert replica["restartPolicy"] == "ExitCode"
        [container] = replica["template"]["spec"]["containers"]
        assert container["name"] == "pytorch"
        assert {"name": "metrics", "containerPort": 9464} in container["ports"]
        assert {each["name"]: each["mountPath"] for each in container["volumeMounts"]} == {
            "workspace": "/workspace",
            "scratch": "/scratch",
            "dshm": "/dev/shm",
            "tmp": "/tmp",
        }
        names = [each["name"] for each in container["env"]]
        assert names.index("PROMETHIOS_RUN") < names.index("PROMETHIOS_OUTPUT")  # which refers to it
        assert container["envFrom"][0] == {"configMapRef": {"name": "promethios-training"}}


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_data_are_made_by_an_init_step_of_the_first_pod_only(name: str) -> None:
    replicas = one(overlay(name), "PyTorchJob")["spec"]["pytorchReplicaSpecs"]
    for kind, replica in replicas.items():
        steps = [(each["name"], each["args"]) for each in replica["template"]["spec"].get("initContainers", [])]
        assert steps == ([("data", ["data"])] if kind == "Master" else [])


def test_the_second_pod_is_the_first_without_its_data_step() -> None:
    objects = overlay("cpu-rehearsal-2-pods")
    first = copy.deepcopy(training_pod(objects))
    del first["initContainers"]
    assert training_pod(objects, "Worker") == first
    assert one(objects, "PersistentVolumeClaim")["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize(("name", "pods"), [("cpu-rehearsal", 1), ("cpu-rehearsal-2-pods", 2)])
def test_the_rehearsal_fits_a_node_with_2_cores_and_8_gib_and_has_2_ranks(name: str, pods: int) -> None:
    templates = pod_templates(overlay(name))
    assert len(templates) == pods
    requests = [template["spec"]["containers"][0]["resources"]["requests"] for template in templates]
    assert sum(quantity(each["cpu"]) for each in requests) <= 1
    limits = [template["spec"]["containers"][0]["resources"]["limits"] for template in templates]
    assert sum(quantity(each["memory"]) for each in limits) <= 6 * 2**30
    assert all("nvidia.com/gpu" not in each for each in limits)
    assert int(one(overlay(name), "PyTorchJob")["spec"]["nprocPerNode"]) * pods == 2


def test_with_an_object_store_every_run_has_a_folder_of_its_own_and_both_pods_have_the_keys(tmp_path: Path) -> None:
    objects = with_components(tmp_path, "cpu-rehearsal", ["object-store", "worker-pod"])
    for replica in ("Master", "Worker"):
        [container] = training_pod(objects, replica)["containers"]
        names = [each["name"] for each in container["env"]]
        store = container["env"][names.index("PROMETHIOS_CHECKPOINT_STORE")]["value"]
        assert store == "$(PROMETHIOS_STORE_ROOT)/$(PROMETHIOS_RUN)"
        # Kubernetes expands only what stands before in the same list.
        assert {"PROMETHIOS_RUN", "PROMETHIOS_STORE_ROOT"} < set(names[: names.index("PROMETHIOS_CHECKPOINT_STORE")])
        assert {"secretRef": {"name": "promethios-object-store", "optional": True}} in container["envFrom"]
    assert "PROMETHIOS_STORE_ROOT" in one(objects, "ConfigMap")["data"]


def test_with_feedback_every_run_keeps_the_reviews_that_it_began_with_and_only_the_training_has_the_key(
    tmp_path: Path,
) -> None:
    pod = training_pod(with_components(tmp_path, "cpu-rehearsal", ["feedback"]))
    [training], [data] = pod["containers"], pod["initContainers"]
    names = [each["name"] for each in training["env"]]
    place = names.index("PROMETHIOS_FEEDBACK")
    assert training["env"][place]["value"] == "/workspace/feedback/$(PROMETHIOS_RUN)"
    assert names.index("PROMETHIOS_RUN") < place
    key = {"secretRef": {"name": "promethios-hub", "optional": True}}
    assert key in training["envFrom"] and key not in data["envFrom"]


def test_nothing_goes_in_or_out_unless_a_policy_says_so(tmp_path: Path) -> None:
    objects = with_components(tmp_path, "8xa100-40gb", COMPONENTS)
    policies = [each["spec"] for each in objects if each["kind"] == "NetworkPolicy"]
    ours = {"app.kubernetes.io/name": "promethios"}
    assert {"podSelector": {"matchLabels": ours}, "policyTypes": ["Ingress", "Egress"]} in policies
    for template in pod_templates(objects):
        assert ours.items() <= template["metadata"]["labels"].items()
