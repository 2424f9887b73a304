"""The rehearsal overlays in a real cluster: DeepSpeed in pods, checkpoints on the volume and on an S3 server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from promethios.checkpoint.attempts import read_attempts
from promethios.checkpoint.manifest import verify
from tests.e2e.cluster import jobs, prometheus
from tests.e2e.cluster.jobs import JOB, Run
from tests.e2e.cluster.real import RealCluster

pytestmark = pytest.mark.e2e

STEPS = 40  # of the overlay


@pytest.fixture(scope="module")
def rehearsal(real_cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """cpu-rehearsal as it is, with the object store added, from `kubectl apply -k` to the job's end."""
    overlay = tmp_path_factory.mktemp("overlays") / "rehearsal"
    jobs.write_overlay(overlay, "cpu-rehearsal", **jobs.with_object_store(real_cluster))
    run = Run(real_cluster, JOB)
    with run.applied(overlay):
        run.wait_for_step(1)
        prometheus.discover(real_cluster)
        run.wait_until_succeeded()
        yield run


def test_the_job_trains_on_two_ranks_evaluates_and_succeeds(rehearsal: Run) -> None:
    training = json.loads((rehearsal.folder / "training_run.json").read_text())
    assert training["world_size"] == 2 and training["steps"] == STEPS
    assert json.loads((rehearsal.folder / "evaluation_report.json").read_text())["gates"]
    assert [attempt.exit_code for attempt in read_attempts(rehearsal.folder)] == [0]
    losses = rehearsal.losses()
    assert sorted(losses) == list(range(1, STEPS + 1)) and losses[STEPS] < losses[1]


def test_its_checkpoints_are_verified_on_the_volume_and_the_same_in_the_object_store(rehearsal: Run) -> None:
    steps = rehearsal.checkpoints()
    assert steps[-1] == STEPS and rehearsal.stored_checkpoints() == steps
    for step in steps:
        verify(rehearsal.folder / f"checkpoint-{step}")
        verify(rehearsal.store / f"checkpoint-{step}")
        manifest = Path(f"checkpoint-{step}", "MANIFEST.json")
        assert (rehearsal.folder / manifest).read_bytes() == (rehearsal.store / manifest).read_bytes()


def test_the_pods_status_says_how_it_ended(rehearsal: Run) -> None:
    [pod] = rehearsal.pods()
    [status] = pod["status"]["containerStatuses"]
    assert "trained and evaluated" in status["state"]["terminated"]["message"]


def test_prometheus_finds_the_pod_and_its_alerts_hold_still(rehearsal: Run) -> None:
    place = rehearsal.cluster.place
    [last] = prometheus.query(place, f'max_over_time(promethios_training_step{{run="{JOB}"}}[1h])')
    assert 1 <= float(last["value"][1]) <= STEPS
    [rate] = prometheus.query(place, f'max_over_time(promethios_training_tokens_per_second{{run="{JOB}"}}[1h])')
    assert float(rate["value"][1]) > 0
    rules = prometheus.rules(place)
    assert rules and [rule["name"] for rule in rules if rule["health"] != "ok" or rule["state"] == "firing"] == []


def test_two_pods_train_as_one_job_to_the_same_losses(
    real_cluster: RealCluster, rehearsal: Run, tmp_path: Path
) -> None:
    """The same data on the same two ranks, now across the network."""
    run = Run(real_cluster, JOB, "promethios-2-pods")  # its volume has another access mode: not the same claim
    overlay = jobs.write_overlay(tmp_path / "two-pods", "cpu-rehearsal-2-pods", namespace=run.namespace)
    with run.applied(overlay):
        run.wait_until_succeeded()
        roles = {pod["metadata"]["labels"]["training.kubeflow.org/replica-type"] for pod in run.pods()}
    assert roles == {"master", "worker"}
    training = json.loads((run.folder / "training_run.json").read_text())
    assert training["world_size"] == 2
    assert run.checkpoints()[-1] == STEPS
    assert run.losses() == pytest.approx(rehearsal.losses(), abs=5e-3)
