"""Jobs are created, stopped and started again without losing what belongs to them, and reported as they are."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from promethios.cluster.connection import Object, Refused
from promethios.cluster.jobs import cancel, find_job, get_job, list_jobs, resume, submit
from promethios.cluster.report import report
from promethios.cluster.submission import Submission, prepare
from promethios.errors import ClusterError
from tests.cluster.api_server import TRAINER, ApiServer


def submission_of(objects: list[Object], api: str = "pytorchjob", name: str = "gov") -> Submission:
    return prepare(objects, name=name, overrides=[], api=api)


def set_condition(server: ApiServer, kind: str, plural: str = "pytorchjobs") -> None:
    server.objects[plural, "gov"]["status"] = {"conditions": [{"type": kind, "status": "True", "message": "so it is"}]}


@pytest.fixture
def submitted(server: ApiServer, rehearsal: list[Object]) -> ApiServer:
    submit(server.connection(), submission_of(rehearsal))
    return server


def test_everything_of_a_submission_is_created_once(submitted: ApiServer, rehearsal: list[Object]) -> None:
    kinds = sorted(submitted.kind_of(plural) for plural, _ in submitted.objects)
    assert kinds == sorted(each["kind"] for each in rehearsal)
    created = submitted.objects["pytorchjobs", "gov"]
    wanted = submission_of(rehearsal).pytorch_job
    assert created["spec"] == wanted["spec"]
    assert created["metadata"]["annotations"] == wanted["metadata"]["annotations"]
    with pytest.raises(ClusterError, match="there is a training gov already"):
        submit(submitted.connection(), submission_of(rehearsal))


def test_a_volume_claim_and_a_namespace_that_are_there_stay_as_they_are(
    server: ApiServer, rehearsal: list[Object]
) -> None:
    theirs = {"metadata": {"name": "promethios-training"}, "spec": {"resources": {"requests": {"storage": "9Gi"}}}}
    server.put("persistentvolumeclaims", theirs)
    server.put("namespaces", {"metadata": {"name": "promethios", "labels": {"team": "a"}}})
    submit(server.connection(), submission_of(rehearsal))
    assert server.objects["persistentvolumeclaims", "promethios-training"] is theirs
    assert server.objects["namespaces", "promethios"]["metadata"]["labels"] == {"team": "a"}


def test_a_second_submission_leaves_the_settings_of_the_first(submitted: ApiServer, rehearsal: list[Object]) -> None:
    for each in rehearsal:
        if each["kind"] == "ConfigMap":
            each["data"]["PROMETHIOS_CONFIG"] = "small"
    submit(submitted.connection(), submission_of(rehearsal, name="other"))
    assert submitted.objects["configmaps", "gov"]["data"]["PROMETHIOS_CONFIG"] == "nano"
    assert submitted.objects["configmaps", "other"]["data"]["PROMETHIOS_CONFIG"] == "small"


def test_who_may_not_see_namespaces_can_submit_into_one(server: ApiServer, rehearsal: list[Object]) -> None:
    server.forbidden |= {("get", "namespaces"), ("create", "namespaces")}
    submit(server.connection(), submission_of(rehearsal))
    assert ("pytorchjobs", "gov") in server.objects


def test_what_the_server_says_against_a_job_is_passed_on(server: ApiServer, rehearsal: list[Object]) -> None:
    server.forbidden.add(("create", "pytorchjobs"))
    with pytest.raises(Refused, match="pytorchjobs is forbidden") as error:
        submit(server.connection(), submission_of(rehearsal))
    assert error.value.status == 403


@pytest.mark.parametrize(("api", "plural"), [("pytorchjob", "pytorchjobs"), ("trainjob", "trainjobs")])
def test_cancel_suspends_and_resume_lets_it_go_on(
    server: ApiServer, rehearsal: list[Object], api: str, plural: str
) -> None:
    server.resources |= TRAINER
    connection = server.connection()
    submit(connection, submission_of(rehearsal, api))

    def suspended() -> Any:
        spec = server.objects[plural, "gov"]["spec"]
        return (spec if api == "trainjob" else spec["runPolicy"]).get("suspend")

    cancel(connection, get_job(connection, "gov"))
    assert suspended() is True
    job = get_job(connection, "gov")
    assert job.state == "Cancelled"
    with pytest.raises(ClusterError, match="cancelled already"):
        cancel(connection, job)
    resume(connection, job)
    assert suspended() is False
    assert get_job(connection, "gov").state == "Pending"


def test_a_failed_job_is_created_again_as_it_was(submitted: ApiServer) -> None:
    connection = submitted.connection()
    before = submitted.objects["pytorchjobs", "gov"]
    set_condition(submitted, "Failed")
    resume(connection, get_job(connection, "gov"))
    after = submitted.objects["pytorchjobs", "gov"]
    assert after is not before
    assert after["spec"] == before["spec"]
    assert "status" not in after
    assert get_job(connection, "gov").state == "Pending"


@pytest.mark.parametrize("verb", ["delete", "get", "create"])
def test_a_failed_job_is_created_again_where_an_answer_is_lost(submitted: ApiServer, verb: str) -> None:
    connection = submitted.connection()
    set_condition(submitted, "Failed")
    job = get_job(connection, "gov")
    submitted.lost.add((verb, "pytorchjobs"))
    resume(connection, job)
    assert not submitted.lost
    after = submitted.objects["pytorchjobs", "gov"]
    assert after["metadata"]["uid"] != job.body["metadata"]["uid"]
    assert (after["spec"], get_job(connection, "gov").state) == (job.body["spec"], "Pending")


def test_a_job_that_cannot_be_created_again_is_told_whole(submitted: ApiServer) -> None:
    connection = submitted.connection()
    set_condition(submitted, "Failed")
    job = get_job(connection, "gov")
    submitted.forbidden.add(("create", "pytorchjobs"))
    with pytest.raises(ClusterError, match=r"not created again: .*forbidden") as error:
        resume(connection, job)
    told = str(error.value).split("<<'EOF'\n")[1].removesuffix("EOF")
    assert yaml.safe_load(told)["spec"] == job.body["spec"]


@pytest.mark.parametrize("state", ["Running", "Succeeded"])
def test_only_a_cancelled_or_failed_job_is_resumed(submitted: ApiServer, state: str) -> None:
    set_condition(submitted, state)
    connection = submitted.connection()
    with pytest.raises(ClusterError, match=f"gov is {state.lower()}"):
        resume(connection, get_job(connection, "gov"))


def test_a_job_that_waits_in_a_queue_is_not_cancelled_behind_its_back(submitted: ApiServer) -> None:
    submitted.objects["pytorchjobs", "gov"]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "gpus"
    set_condition(submitted, "Suspended")
    connection = submitted.connection()
    job = get_job(connection, "gov")
    assert not job.has_ended
    with pytest.raises(ClusterError, match="Kueue"):
        cancel(connection, job)


def test_a_name_that_is_not_there_is_answered_with_the_nearest(submitted: ApiServer) -> None:
    connection = submitted.connection()
    assert find_job(connection, "gob") is None
    with pytest.raises(ClusterError, match=r"no training gob; did you mean 'gov'"):
        get_job(connection, "gob")


@pytest.mark.parametrize(
    ("conditions", "state"),
    [
        ([], "Pending"),
        ([("Created", "True")], "Pending"),
        ([("Created", "True"), ("Running", "True")], "Running"),
        ([("Created", "True"), ("Running", "False"), ("Restarting", "True")], "Restarting"),
        ([("Created", "True"), ("Running", "False"), ("Suspended", "True")], "Suspended"),
        ([("Created", "True"), ("Suspended", "False"), ("Running", "True")], "Running"),
        ([("Created", "True"), ("Running", "False"), ("Succeeded", "True")], "Succeeded"),
        ([("Created", "True"), ("Failed", "True"), ("Restarting", "True")], "Failed"),
        ([("Complete", "True")], "Succeeded"),
    ],
)
def test_conditions_are_one_state(submitted: ApiServer, conditions: list[tuple[str, str]], state: str) -> None:
    listed = [{"type": kind, "status": status} for kind, status in conditions]
    submitted.objects["pytorchjobs", "gov"]["status"] = {"conditions": listed}
    [job] = list_jobs(submitted.connection())
    assert job.state == state


def pod(name: str, state: dict[str, Any], **status: Any) -> dict[str, Any]:
    role = {"training.kubeflow.org/job-role": "master"} if "master" in name else {}
    statuses = [{"name": "pytorch", "restartCount": 0, "state": state}]
    return {
        "metadata": {"name": name, "labels": {"training.kubeflow.org/job-name": "gov", **role}},
        "spec": {"nodeName": "gpu-7"},
        "status": {"containerStatuses": statuses, **status},
    }


def test_a_running_job_is_reported_from_the_log_of_its_first_pod(submitted: ApiServer) -> None:
    set_condition(submitted, "Running")
    submitted.put("pods", pod("gov-master-0", {"running": {}}, phase="Running"))
    submitted.put("pods", pod("gov-a-worker-0", {"running": {}}, phase="Running"))
    lines = [
        "attempt 2 of at most 20",
        "resuming from /workspace/runs/gov/checkpoint-20",
        "step 21/40  loss 5.1000  language 4.0000  decision 1.1000  lr 1.00e-03  12,345 tokens/s  ETA 90 s",
        "step 22/40  loss 5.0000  language 3.9000  decision 1.1000  lr 1.00e-03  12,345 tokens/s  ETA 80 s",
    ]
    submitted.write(*((f"2026-11-23T01:00:0{n}.000000000Z", line) for n, line in enumerate(lines)))
    connection = submitted.connection()
    found = report(connection, get_job(connection, "gov"))
    assert (found.state, found.attempt, found.checkpoint_step) == ("Running", 2, 20)
    assert found.progress is not None
    assert (found.progress.step, found.progress.loss, found.progress.tokens_per_second) == (22, 5.0, 12345.0)
    assert [each["name"] for each in found.pods] == ["gov-master-0", "gov-a-worker-0"]


def test_a_failed_job_is_reported_with_its_last_words(submitted: ApiServer) -> None:
    set_condition(submitted, "Failed")
    words = "attempt 5, step 17, newest checkpoint 10: 5 attempts in a row made no progress beyond step 17"
    submitted.put("pods", pod("gov-master-0", {"terminated": {"exitCode": 3, "message": words}}, phase="Failed"))
    connection = submitted.connection()
    found = report(connection, get_job(connection, "gov"))
    assert (found.state, found.exit_code, found.attempt, found.checkpoint_step) == ("Failed", 3, 5, 10)
    assert found.reason == words


def test_a_job_whose_pod_cannot_start_is_reported_with_the_reason(submitted: ApiServer) -> None:
    set_condition(submitted, "Created")
    why = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: 3 Insufficient memory."}
    waiting = {"metadata": pod("gov-master-0", {})["metadata"], "status": {"phase": "Pending", "conditions": [why]}}
    submitted.put("pods", waiting)
    connection = submitted.connection()
    found = report(connection, get_job(connection, "gov"))
    assert (found.state, found.reason) == ("Pending", why["message"])
    assert found.progress is found.attempt is None
