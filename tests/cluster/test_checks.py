"""What would leave a pod pending for ever is found before anything is created."""

from __future__ import annotations

from typing import Any

import pytest

from promethios.cluster.checks import Findings, check
from promethios.cluster.connection import ConnectionLost, Object
from promethios.cluster.submission import Submission, prepare
from promethios.errors import ClusterError
from tests.cluster.api_server import TRAINER, ApiServer

DEFAULT = {"storageclass.kubernetes.io/is-default-class": "true"}


@pytest.fixture
def cluster(server: ApiServer) -> ApiServer:
    """A cluster in which the rehearsal can run."""
    server.put("storageclasses", {"metadata": {"name": "fast", "annotations": DEFAULT}})
    room = {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi"}
    server.put("nodes", {"metadata": {"name": "cpu-0"}, "status": {"allocatable": room}})
    return server


@pytest.fixture
def submission(rehearsal: list[Object]) -> Submission:
    return prepare(rehearsal, name=None, overrides=[], api="pytorchjob")


def find(server: ApiServer, submission: Submission, *, allow_pending: bool = False) -> Findings:
    return check(server.connection(), submission, allow_pending=allow_pending)


def test_nothing_is_found_where_the_job_can_run_and_nothing_is_created(
    cluster: ApiServer, submission: Submission
) -> None:
    before = set(cluster.objects)
    assert find(cluster, submission) == Findings()
    assert set(cluster.objects) == before


def test_a_cluster_without_the_operator_is_refused(cluster: ApiServer, submission: Submission) -> None:
    del cluster.resources["apis/kubeflow.org/v1"]
    with pytest.raises(ClusterError, match=r"no PyTorchJob \(kubeflow.org/v1\); install Kubeflow's training-operator"):
        find(cluster, submission)


def test_a_cluster_with_only_the_other_operator_says_which_option_uses_it(
    cluster: ApiServer, submission: Submission
) -> None:
    del cluster.resources["apis/kubeflow.org/v1"]
    cluster.resources |= TRAINER
    with pytest.raises(ClusterError, match="use --api trainjob, which it has"):
        find(cluster, submission)


def test_a_cluster_that_does_not_answer_is_told_as_such(cluster: ApiServer, submission: Submission) -> None:
    cluster.go_away()
    with pytest.raises(ConnectionLost, match="no answer from the cluster"):
        find(cluster, submission)


@pytest.mark.parametrize(("verb", "plural"), [("create", "pytorchjobs"), ("patch", "configmaps"), ("list", "pods")])
def test_a_missing_right_is_named(cluster: ApiServer, submission: Submission, verb: str, plural: str) -> None:
    cluster.forbidden.add((verb, plural))
    [problem] = find(cluster, submission).problems
    assert f"you may not {verb} {plural}" in problem


def test_a_kind_that_the_cluster_lacks_is_named(cluster: ApiServer, submission: Submission) -> None:
    monitor = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor", "metadata": {"name": "m"}}
    submission.supporting.append(monitor)
    [problem] = find(cluster, submission).problems
    assert "the cluster has no monitoring.coreos.com/v1" in problem


def test_no_default_storage_class_names_those_that_are_there(cluster: ApiServer, submission: Submission) -> None:
    cluster.put("storageclasses", {"metadata": {"name": "fast"}})
    [problem] = find(cluster, submission).problems
    assert "storageClassName to one of: fast" in problem


def test_a_storage_class_that_is_not_there_is_named(cluster: ApiServer, submission: Submission) -> None:
    claim(submission)["spec"]["storageClassName"] = "slow"
    [problem] = find(cluster, submission).problems
    assert "no storage class slow; there are: fast" in problem


def test_a_claim_that_is_there_needs_no_storage_class(cluster: ApiServer, submission: Submission) -> None:
    del cluster.objects["storageclasses", "fast"]
    cluster.put("persistentvolumeclaims", claim(submission))
    assert find(cluster, submission).problems == []


def claim(submission: Submission) -> Any:
    return next(each for each in submission.supporting if each["kind"] == "PersistentVolumeClaim")


@pytest.mark.parametrize(
    ("name", "hard", "used", "refused"),
    [
        ("requests.memory", "4Gi", "0", False),
        ("requests.memory", "4Gi", "2Gi", True),
        ("memory", "4Gi", "2Gi", True),
        ("limits.memory", "1Gi", "0", True),
        ("pods", "1", "0", False),
        ("pods", "1", "1", True),
        ("requests.storage", "1Gi", "0", True),
        ("requests.nvidia.com/gpu", "0", "0", False),
    ],
)
def test_a_quota_that_has_no_room_is_refused(
    cluster: ApiServer, submission: Submission, name: str, hard: str, used: str, refused: bool
) -> None:
    status = {"hard": {name: hard}, "used": {name: used}}
    cluster.put("resourcequotas", {"metadata": {"name": "team"}, "spec": {"hard": {name: hard}}, "status": status})
    problems = find(cluster, submission).problems
    assert [f"quota team: {name} has {hard}" in problem for problem in problems] == [True] * refused


def test_nodes_of_which_none_could_ever_fit_are_refused_unless_they_may_come(
    cluster: ApiServer, submission: Submission
) -> None:
    cluster.objects["nodes", "cpu-0"]["status"]["allocatable"]["memory"] = "1Gi"
    [problem] = find(cluster, submission).problems
    assert "cpu-0: 1Gi memory, 3Gi wanted" in problem
    assert "--allow_pending" in problem
    assert find(cluster, submission, allow_pending=True).problems == []


def test_what_one_may_not_look_at_is_said_and_refuses_nothing(cluster: ApiServer, submission: Submission) -> None:
    cluster.forbidden |= {("list", "nodes"), ("list", "storageclasses"), ("list", "resourcequotas")}
    findings = find(cluster, submission)
    assert findings.problems == []
    assert len(findings.unknown) == 3
