"""A TrainJob runs the same pods as the PyTorchJob that it is made of."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from promethios.cluster.connection import Object
from promethios.cluster.overlay import find_overlay, render
from promethios.cluster.submission import prepare
from promethios.cluster.trainjob import JOB_NAME_LABEL, train_job
from promethios.errors import ClusterError

OVERLAYS = ("8xa100-40gb", "8xa100-80gb", "8xh100-80gb", "cpu-rehearsal", "cpu-rehearsal-2-pods")
COMPARED = ("image", "command", "args", "env", "envFrom", "resources", "volumeMounts", "securityContext", "ports")


def job_of(objects: list[Object]) -> Object:
    return next(each for each in objects if each["kind"] == "PyTorchJob")


def job_spec(runtime: Object) -> Any:
    [step] = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    return step["template"]["spec"]


@pytest.fixture(params=OVERLAYS)
def job(request: pytest.FixtureRequest, kubectl: None) -> Object:
    return job_of(render(find_overlay(request.param), "promethios", None))


def test_environment_command_volumes_and_rights_are_equal(job: Object) -> None:
    runtime, _ = train_job(job)
    before = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]
    after = job_spec(runtime)["template"]
    [trained_before], [trained_after] = before["spec"]["containers"], after["spec"]["containers"]
    assert {key: trained_after.get(key) for key in COMPARED} == {key: trained_before.get(key) for key in COMPARED}
    assert trained_after == {**trained_before, "name": "node"}
    differing = {"containers", "initContainers", "restartPolicy"}
    assert {key: value for key, value in after["spec"].items() if key not in differing} == {
        key: value for key, value in before["spec"].items() if key not in differing
    }
    assert after["metadata"]["labels"] == {**before["metadata"]["labels"], JOB_NAME_LABEL: "promethios-training"}
    assert after["metadata"]["annotations"] == before["metadata"]["annotations"]


def test_the_data_step_is_equal_but_for_the_rank_that_the_first_pod_of_several_is_known_by(job: Object) -> None:
    runtime, train = train_job(job)
    [before] = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["initContainers"]
    [after] = job_spec(runtime)["template"]["spec"]["initContainers"]
    added = after["env"][len(before["env"]) :]
    assert {**after, "env": after["env"][: len(before["env"])]} == before
    assert [each["name"] for each in added] == ["PET_NODE_RANK"] * (train["spec"]["trainer"]["numNodes"] > 1)


def test_nodes_and_ranks_are_as_many(job: Object) -> None:
    runtime, train = train_job(job)
    pods = sum(replica["replicas"] for replica in job["spec"]["pytorchReplicaSpecs"].values())
    assert runtime["spec"]["mlPolicy"] == {"numNodes": pods, "torch": {}}
    assert train["spec"]["trainer"] == {"numNodes": pods, "numProcPerNode": int(job["spec"]["nprocPerNode"])}
    assert train["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"] == job["metadata"]["name"]


def test_the_job_itself_is_left_as_it_was(job: Object) -> None:
    before = copy.deepcopy(job)
    train_job(job)
    assert job == before


def test_final_exit_codes_fail_at_once_and_all_others_are_tried_again(rehearsal: list[Object]) -> None:
    [runtime, _] = train_job(job_of(rehearsal))
    spec = job_spec(runtime)
    ignored, failed = spec["podFailurePolicy"]["rules"]
    assert failed["action"] == "FailJob"
    assert {1, 2, 3} <= set(failed["onExitCodes"]["values"]) <= set(range(1, 128))
    assert ignored == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # or Kubernetes takes no podFailurePolicy
    assert spec["podReplacementPolicy"] == "Failed"


def test_what_a_trainjob_cannot_say_is_refused(rehearsal: list[Object]) -> None:
    job = job_of(rehearsal)
    job["spec"]["runPolicy"]["schedulingPolicy"] = {"minAvailable": 1}
    with pytest.raises(ClusterError, match=r"runPolicy\.schedulingPolicy"):
        train_job(job)


def test_pods_that_differ_are_refused(kubectl: None) -> None:
    job = job_of(render(find_overlay("cpu-rehearsal-2-pods"), "promethios", None))
    worker = job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    worker["containers"][0]["env"].append({"name": "ONLY_HERE", "value": "1"})
    with pytest.raises(ClusterError, match="Master and Worker differ"):
        train_job(job)


def test_a_submission_as_trainjob_ends_with_the_trainjob(rehearsal: list[Object]) -> None:
    submission = prepare(rehearsal, name="try-1", overrides=["training.seed=1"], api="trainjob")
    assert [each["kind"] for each in submission.objects[-2:]] == ["TrainingRuntime", "TrainJob"]
    [container] = job_spec(submission.jobs[0])["template"]["spec"]["containers"]
    assert container["args"][-2:] == ["--set", "training.seed=1"]
