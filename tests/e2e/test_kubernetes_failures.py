"""What happens to pods and nodes happens to a training in mid run; it goes on as if nothing had."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from promethios.checkpoint.attempts import read_attempts
from tests.e2e.cluster import jobs
from tests.e2e.cluster.jobs import Run
from tests.e2e.cluster.real import RealCluster
from tests.tiny_model import TINY_MODEL

pytestmark = pytest.mark.e2e

STEPS = 40
DISTURBED_AT = 17
TOLERANCE = 5e-3  # bf16 sums in another order after loading; equal runs differ by less
TINY = TINY_MODEL | {
    "training.batch_size": 1,
    "training.gradient_accumulation_steps": 4,
    "training.max_steps": STEPS,
    "training.save_steps": 5,
    "training.logging_steps": 1,
}
ARGUMENTS = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]


def overlay(cluster: RealCluster, folder: Path, job: str) -> Path:
    """The rehearsal with a model so small that a run takes seconds."""
    added = jobs.with_object_store(cluster)
    added["patches"].append(jobs.named(job, ARGUMENTS))
    return jobs.write_overlay(folder, "cpu-rehearsal", **added)


@pytest.fixture(scope="module")
def undisturbed(real_cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    run = Run(real_cluster, "undisturbed")
    with run.applied(overlay(real_cluster, tmp_path_factory.mktemp("overlays") / run.job, run.job)):
        run.wait_until_succeeded()
        yield run


def the_pod_is_deleted(run: Run) -> None:
    """As a person or a controller does: SIGTERM, and the grace period to save."""
    run.cluster.kubectl("delete", "pod", f"{run.job}-master-0", f"--namespace={run.namespace}", "--wait=false")


def the_pod_is_evicted(run: Run) -> None:
    """Through the API that `kubectl drain`, the descheduler and the cluster autoscaler use."""
    metadata = {"name": f"{run.job}-master-0", "namespace": run.namespace}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    path = f"/api/v1/namespaces/{run.namespace}/pods/{metadata['name']}/eviction"
    run.cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def the_container_gets_sigterm(run: Run) -> None:
    """Behind Kubernetes' back, as on a machine that shuts down."""
    [script] = [process for process in run.cluster.processes("bash") if is_entry(process)]
    script.send_signal(signal.SIGTERM)


def is_entry(process: psutil.Process) -> bool:
    """Whether it is the container's first process, not a subshell of it."""
    parent = process.parent()
    return "/usr/local/bin/run_training.sh" in process.cmdline() and bool(parent) and parent.name() != process.name()


def a_rank_is_killed(run: Run) -> None:
    """kill -9, as by the kernel that runs out of memory."""
    run.ranks()[-1].kill()


def the_pod_is_lost(run: Run) -> None:
    """Deleted without grace, as with its machine."""
    words = ("--grace-period=0", "--force", "--wait=false", f"--namespace={run.namespace}")
    run.cluster.kubectl("delete", "pod", f"{run.job}-master-0", *words)


def the_node_restarts(run: Run) -> None:
    """Everything on it dies at once; kubelet and containerd come up again, the operator among their pods."""
    shims = run.cluster.processes("containerd-shim-runc-v2")
    containers = [child for shim in shims for child in shim.children(recursive=True)]
    daemons = [process for name in ("kubelet", "containerd") for process in run.cluster.processes(name)]
    for process in (*daemons, *shims, *containers):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@contextlib.contextmanager
def disturbed(cluster: RealCluster, tmp_path: Path, disturb: Callable[[Run], None]) -> Iterator[tuple[Run, int]]:
    """A run that this happens to in its middle, and the step of its newest complete checkpoint at that moment."""
    run = Run(cluster, disturb.__name__.replace("_", "-"))
    with run.applied(overlay(cluster, tmp_path / run.job, run.job)):
        run.wait_for_step(DISTURBED_AT)
        complete = run.checkpoints()[-1]
        disturb(run)
        yield run, complete


@pytest.mark.parametrize("disturb", [the_pod_is_deleted, the_pod_is_evicted, the_container_gets_sigterm])
def test_a_run_that_is_told_to_stop_saves_and_loses_no_step_when(
    real_cluster: RealCluster, undisturbed: Run, tmp_path: Path, disturb: Callable[[Run], None]
) -> None:
    with disturbed(real_cluster, tmp_path, disturb) as (run, _):
        run.wait_until_trained()
    first, second = read_attempts(run.folder)
    assert first.exit_code == 128 + signal.SIGTERM
    assert first.checkpoint_step == first.last_step == second.first_step
    assert second.lost_steps == 0
    assert run.losses() == pytest.approx(undisturbed.losses(), abs=TOLERANCE)


@pytest.mark.parametrize("disturb", [a_rank_is_killed, the_pod_is_lost])
def test_a_run_that_is_killed_goes_on_from_its_newest_complete_checkpoint_when(
    real_cluster: RealCluster, undisturbed: Run, tmp_path: Path, disturb: Callable[[Run], None]
) -> None:
    with disturbed(real_cluster, tmp_path, disturb) as (run, complete):
        run.wait_until_trained()
    assert_went_on(run, complete)
    assert run.losses() == pytest.approx(undisturbed.losses(), abs=TOLERANCE)


def test_a_run_survives_a_restart_of_the_node_with_everything_on_it(
    real_cluster: RealCluster, undisturbed: Run, tmp_path: Path
) -> None:
    with disturbed(real_cluster, tmp_path, the_node_restarts) as (run, complete):
        run.wait_until_succeeded()
    assert_went_on(run, complete)
    assert read_attempts(run.folder)[-1].exit_code == 0
    assert run.checkpoints()[-1] == run.stored_checkpoints()[-1] == STEPS
    assert run.losses() == pytest.approx(undisturbed.losses(), abs=TOLERANCE)


def assert_went_on(run: Run, complete: int) -> None:
    """Its second attempt began where its ledger says, and nothing complete was lost."""
    first, second = read_attempts(run.folder)
    assert first.exit_code in (None, 138), first
    assert second.first_step is not None and second.first_step >= complete
    assert second.lost_steps == first.last_step - second.first_step
