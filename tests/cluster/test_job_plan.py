"""A rendered job is planned as `promethios plan` would, and refused for the same reasons."""

from __future__ import annotations

import pytest

from promethios.cluster.connection import Object
from promethios.cluster.job_plan import plan_job, plan_problems
from promethios.cluster.overlay import find_overlay, render
from promethios.cluster.submission import Submission, containers, prepare
from promethios.errors import ClusterError, ConfigError

OVERLAYS = ("8xa100-40gb", "8xa100-80gb", "8xh100-80gb", "cpu-rehearsal", "cpu-rehearsal-2-pods")


def submission_of(objects: list[Object], *overrides: str) -> Submission:
    return prepare(objects, name=None, overrides=overrides, api="pytorchjob")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_overlay_contradicts_its_plan(kubectl: None, overlay: str) -> None:
    submission = submission_of(render(find_overlay(overlay), "promethios", None))
    plan = plan_job(submission)
    assert plan is not None
    assert plan.node.count == (2 if overlay.startswith("cpu") else 8)
    assert plan_problems(submission, plan) == []


def test_overrides_of_overlay_and_command_line_are_planned_the_later_one_counts(rehearsal: list[Object]) -> None:
    plan = plan_job(submission_of(rehearsal, "training.max_steps=7", "training.save_steps=7"))
    assert plan is not None
    assert (plan.steps, plan.config.training.save_steps) == (7, 7)


@pytest.mark.parametrize(
    ("override", "problem"),
    [("training.save_steps=1000", "training.save_steps"), ("training.effective_batch_size=7", "effective_batch_size")],
)
def test_a_contradiction_is_refused_with_what_to_change(rehearsal: list[Object], override: str, problem: str) -> None:
    submission = submission_of(rehearsal, override)
    plan = plan_job(submission)
    assert plan is not None
    [found] = plan_problems(submission, plan)
    assert problem in found


def test_a_short_grace_period_and_a_small_volume_are_refused(rehearsal: list[Object]) -> None:
    for each in rehearsal:
        if each["kind"] == "PersistentVolumeClaim":
            each["spec"]["resources"]["requests"]["storage"] = "10Mi"
    submission = submission_of(rehearsal)
    submission.pytorch_job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"][
        "terminationGracePeriodSeconds"
    ] = 1
    plan = plan_job(submission)
    assert plan is not None
    found = " ".join(plan_problems(submission, plan))
    assert "grace_period" in found
    assert "10.49 MB" in found


def test_an_unknown_key_is_refused_as_by_training(rehearsal: list[Object]) -> None:
    with pytest.raises(ConfigError, match="max_stepz"):
        plan_job(submission_of(rehearsal, "training.max_stepz=7"))


def test_as_many_ranks_as_gpus_or_it_is_refused(rehearsal: list[Object]) -> None:
    submission = submission_of(rehearsal)
    for container in containers(submission.pytorch_job):
        container["resources"]["limits"]["nvidia.com/gpu"] = "8"
    with pytest.raises(ClusterError, match=r"nprocPerNode is 2, but the limit of nvidia\.com/gpu is 8"):
        plan_job(submission)


def test_a_job_that_does_not_say_what_it_runs_on_is_refused(rehearsal: list[Object]) -> None:
    submission = submission_of(rehearsal)
    del submission.pytorch_job["metadata"]["annotations"]["promethios/node"]
    with pytest.raises(ClusterError, match="promethios/node"):
        plan_job(submission)


def test_a_configuration_that_only_the_image_has_is_not_planned(rehearsal: list[Object]) -> None:
    for each in rehearsal:
        if each["kind"] == "ConfigMap":
            each["data"]["PROMETHIOS_CONFIG"] = "/workspace/mine.yaml"
    assert plan_job(submission_of(rehearsal)) is None
