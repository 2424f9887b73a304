"""`promethios submit` and its companions against real API servers and the real training-operator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from promethios.cluster.overlay import find_overlay, render
from promethios.cluster.submission import prepare
from tests.cluster.cut_connections import CutProxy
from tests.e2e.cluster import jobs, light
from tests.e2e.cluster.binaries import BIN
from tests.e2e.cluster.cluster import Cluster
from tests.e2e.cluster.jobs import MANIFESTS, NAMESPACE
from tests.e2e.cluster.real import RealCluster

pytestmark = pytest.mark.e2e

OVERLAYS = sorted(path.name for path in (MANIFESTS / "overlays").iterdir())
TRAINER = "github.com/kubeflow/trainer/v2@v2.3.0"
JOB = "gov"


def promethios(kubeconfig: Path, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "PATH": f"{BIN}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "promethios.cli", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(cluster: Cluster, *words: str, expected: int = 0) -> str:
    """Run a verb to its end; returns what it printed on stdout."""
    process = promethios(cluster.kubeconfig, *words)
    out, err = process.communicate(timeout=300)
    assert process.returncode == expected, err
    return out


@contextmanager
def removed_afterwards(cluster: Cluster) -> Iterator[None]:
    try:
        yield
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait", timeout=300)


def status(cluster: Cluster) -> dict[str, Any]:
    return json.loads(run(cluster, "status", JOB, "--json"))[0]  # type: ignore[no-any-return]


def wait_for(cluster: Cluster, condition: str) -> None:
    cluster.wait(lambda: jobs.condition(cluster, condition, JOB), f"the job is {condition}")


def end_pod(cluster: Cluster, exit_code: int) -> None:
    wait_for(cluster, "Running")
    annotation = f"{light.EXIT_CODE}={exit_code}"
    cluster.kubectl("annotate", "pod", f"{JOB}-master-0", annotation, f"--namespace={NAMESPACE}")


def test_a_job_is_submitted_cancelled_resumed_failed_and_resumed_to_its_end(light_cluster: Cluster) -> None:
    with removed_afterwards(light_cluster):
        run(light_cluster, "submit", "--overlay", "8xa100-40gb", "--name", JOB, "--detach")
        wait_for(light_cluster, "Running")
        first = jobs.pods(light_cluster, JOB)[0]["metadata"]["uid"]
        run(light_cluster, "cancel", JOB)
        light_cluster.wait(lambda: jobs.pods(light_cluster, JOB) == [], "its pod is gone")
        assert status(light_cluster)["state"] == "Cancelled"
        run(light_cluster, "resume", JOB)
        end_pod(light_cluster, 2)
        wait_for(light_cluster, "Failed")
        spec = light_cluster.get("pytorchjob", JOB, f"--namespace={NAMESPACE}")["spec"]
        run(light_cluster, "resume", JOB)
        end_pod(light_cluster, 0)
        wait_for(light_cluster, "Succeeded")
        assert status(light_cluster)["state"] == "Succeeded"
        assert light_cluster.get("pytorchjob", JOB, f"--namespace={NAMESPACE}")["spec"] == spec
        assert jobs.pods(light_cluster, JOB)[0]["metadata"]["uid"] != first


def test_what_the_operators_webhook_says_reaches_the_user(light_cluster: Cluster, tmp_path: Path) -> None:
    patch = [{"op": "replace", "path": "/spec/pytorchReplicaSpecs/Master/replicas", "value": 2}]
    patches = [{"target": {"kind": "PyTorchJob"}, "patch": json.dumps(patch)}]
    overlay = jobs.write_overlay(tmp_path / "two", "cpu-rehearsal", patches=patches)
    with removed_afterwards(light_cluster):
        process = promethios(light_cluster.kubeconfig, "submit", "--overlay", str(overlay))
        _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "[Master].replicas: Forbidden: must be 1" in err
    assert "Traceback" not in err


def test_a_node_that_is_too_small_is_found_before_anything_is_created(light_cluster: Cluster) -> None:
    process = promethios(
        light_cluster.kubeconfig,
        *("submit", "--overlay", "8xa100-40gb", "--image", "promethios/train:1", "--namespace", "nowhere"),
        *("--set", "training.save_steps=1000"),
    )
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "training.save_steps" in err
    assert "nowhere" not in light_cluster.kubectl("get", "namespaces")


def test_a_follower_that_loses_the_connection_sees_the_job_to_its_end(light_cluster: Cluster, tmp_path: Path) -> None:
    with removed_afterwards(light_cluster), cut_connection(light_cluster, tmp_path) as (kubeconfig, proxy):
        follower = promethios(kubeconfig, "submit", "--overlay", "cpu-rehearsal", "--name", JOB)
        notes = Notes(follower)
        notes.wait(lambda: any("running on" in line for line in notes.lines))
        proxy.cut()
        notes.wait(lambda: any("no answer from the cluster" in line for line in notes.lines))
        end_pod(light_cluster, 0)
        proxy.mend()
        notes.wait(lambda: "connected again" in notes.lines)
        assert follower.wait(timeout=60) == 0
        assert f"PyTorchJob {JOB}: succeeded" in notes.lines


def test_the_log_of_a_training_comes_whole_and_in_order_through_lost_connections(
    real_cluster: RealCluster, tmp_path: Path
) -> None:
    with cut_connection(real_cluster, tmp_path) as (kubeconfig, proxy):
        few_steps = ("--set", "training.max_steps=8", "--set", "training.save_steps=4")
        follower = promethios(kubeconfig, "submit", "--overlay", "cpu-rehearsal", "--name", JOB, *few_steps)
        notes = Notes(follower)
        try:
            for losses in range(1, 4):
                notes.wait(lambda: any("running on" in line for line in notes.lines))
                proxy.cut()
                notes.wait(lambda losses=losses: sum("no answer" in line for line in notes.lines) == losses)
                proxy.mend()
                notes.wait(lambda losses=losses: notes.lines.count("connected again") == losses)
            assert follower.wait(timeout=300) == 0, notes.lines
            assert follower.stdout
            out = follower.stdout.read()
            logs = [
                real_cluster.kubectl("logs", f"{JOB}-master-0", f"--container={name}", f"--namespace={NAMESPACE}")
                for name in ("data", "pytorch")
            ]
            assert out == "".join(logs)
            assert "step 8/8  loss" in out
        finally:
            follower.kill()
            real_cluster.kubectl("delete", "pytorchjob", JOB, f"--namespace={NAMESPACE}", "--ignore-not-found")


@contextmanager
def cut_connection(cluster: Cluster, folder: Path) -> Iterator[tuple[Path, CutProxy]]:
    """A kubeconfig that leads to the cluster through a proxy."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    place = config["clusters"][0]["cluster"]
    host, port = place["server"].removeprefix("https://").split(":")
    proxy = CutProxy((host, int(port)))
    place |= {"server": f"https://127.0.0.1:{proxy.port}", "tls-server-name": host}
    path = folder / "proxied.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    try:
        yield path, proxy
    finally:
        proxy.stop()


class Notes:
    """The lines that a process writes to stderr, as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self._process = process
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stderr or ():
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    def wait(self, condition: Callable[[], Any]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, timeout=180), self.lines


@pytest.fixture(scope="module")
def trainer_crds(light_cluster: Cluster) -> Iterator[None]:
    """The API of Kubeflow Trainer, without its controller."""
    module = json.loads(subprocess.check_output(["go", "mod", "download", "-json", TRAINER], text=True))
    folder = Path(module["Dir"]) / "manifests" / "base" / "crds"
    files = [str(folder / f"trainer.kubeflow.org_{name}.yaml") for name in ("trainingruntimes", "trainjobs")]
    flags = [word for file in files for word in ("-f", file)]
    light_cluster.kubectl("apply", "--server-side", *flags)
    light_cluster.kubectl("wait", "--for=condition=Established", *flags)
    yield
    light_cluster.kubectl("delete", *flags)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_trainers_api_accepts_every_overlay_as_a_trainjob(
    light_cluster: Cluster, trainer_crds: None, monkeypatch: pytest.MonkeyPatch, overlay: str
) -> None:
    monkeypatch.setenv("PATH", f"{BIN}:{os.environ['PATH']}")
    rendered = render(find_overlay(overlay), "default", None)
    submission = prepare(rendered, name=JOB, overrides=[], api="trainjob")
    text = yaml.safe_dump_all(submission.jobs)
    answer = light_cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)
    assert f"trainingruntime.trainer.kubeflow.org/{JOB} created" in answer
    assert f"trainjob.trainer.kubeflow.org/{JOB} created" in answer
