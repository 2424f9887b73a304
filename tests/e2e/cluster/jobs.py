"""Jobs of the tests: an overlay as a user would change it, what became of it, and its removal."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.e2e.cluster.binaries import BIN
from tests.e2e.cluster.cluster import Cluster
from tests.e2e.cluster.real import BUCKET, S3_KEY, S3_SECRET, RealCluster

MANIFESTS = Path(__file__).parents[3] / "manifests"
NAMESPACE = "promethios"
JOB = "promethios-training"
STORE_PREFIX = "checkpoints"
CONTAINER = "/spec/pytorchReplicaSpecs/Master/template/spec/containers/0"


def render(folder: Path) -> list[dict[str, Any]]:
    """The objects that `kubectl apply -k` would create."""
    text = subprocess.check_output([str(BIN / "kubectl"), "kustomize", str(folder)], text=True)
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]


def job_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    [job] = [item for item in objects if item["kind"] == "PyTorchJob"]
    return job


def write_overlay(folder: Path, base: str, **kustomization: Any) -> Path:
    """A kustomization of the user's own on top of one of ours; `components` by their names."""
    folder.mkdir(parents=True)
    wanted = kustomization.pop("components", ())
    kustomization["resources"] = [os.path.relpath(MANIFESTS / "overlays" / base, folder)]
    kustomization["components"] = [os.path.relpath(MANIFESTS / "components" / name, folder) for name in wanted]
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization))
    return folder


def with_object_store(cluster: RealCluster) -> dict[str, Any]:
    """What a user adds to an overlay to have checkpoints in the cluster's S3 server, too."""
    data = {"PROMETHIOS_STORE_ROOT": f"s3://{BUCKET}/{STORE_PREFIX}", "AWS_ENDPOINT_URL": cluster.s3_url}
    settings = {"kind": "ConfigMap", "metadata": {"name": "promethios-training"}, "data": data}
    keys = [f"AWS_ACCESS_KEY_ID={S3_KEY}", f"AWS_SECRET_ACCESS_KEY={S3_SECRET}"]
    return {
        "namespace": NAMESPACE,
        "components": ["object-store"],
        "patches": [{"target": {"kind": "ConfigMap"}, "patch": json.dumps(settings)}],
        "secretGenerator": [
            {"name": "promethios-object-store", "literals": keys, "options": {"disableNameSuffixHash": True}}
        ],
    }


def named(job: str, arguments: list[str]) -> dict[str, Any]:
    """A kustomize patch that gives the job another name, and its training other arguments."""
    operations = [
        {"op": "replace", "path": "/metadata/name", "value": job},
        {"op": "replace", "path": f"{CONTAINER}/args", "value": arguments},
    ]
    patch = {"target": {"kind": "PyTorchJob"}, "patch": json.dumps(operations)}
    return {**patch, "options": {"allowNameChange": True}}


@contextmanager
def applied(cluster: Cluster, folder: Path) -> Iterator[None]:
    """`kubectl apply -k`, and `kubectl delete -k` afterwards; returns when nothing is left of the namespace."""
    cluster.kubectl("apply", "--server-side", "-k", str(folder))
    try:
        yield
    finally:
        cluster.kubectl("delete", "-k", str(folder), "--ignore-not-found", "--wait", timeout=300)


def events(cluster: Cluster, namespace: str = NAMESPACE) -> str:
    """What the cluster's parts reported, a line each."""
    lines = cluster.kubectl("get", "events", f"--namespace={namespace}", "--output=custom-columns=:.reason,:.message")
    return "\n".join(sorted(set(lines.splitlines())))


def pods(cluster: Cluster, job: str = JOB, namespace: str = NAMESPACE) -> list[dict[str, Any]]:
    return cluster.items("pods", f"--namespace={namespace}", f"--selector=training.kubeflow.org/job-name={job}")


def condition(cluster: Cluster, kind: str, job: str = JOB, namespace: str = NAMESPACE) -> bool:
    """Whether the job is, or was, `Running`, `Succeeded`, ..."""
    conditions = cluster.get("pytorchjob", job, f"--namespace={namespace}").get("status", {}).get("conditions", [])
    return any(item["type"] == kind and item["status"] == "True" for item in conditions)


@dataclass(frozen=True)
class Run:
    """A training in the real cluster: its job, its pods, and what lies on its volume and in its bucket."""

    cluster: RealCluster
    job: str
    namespace: str = NAMESPACE

    @contextmanager
    def applied(self, overlay: Path) -> Iterator[None]:
        """`kubectl apply -k`; afterwards the job is deleted, while volume and data stay for the next one."""
        self.cluster.kubectl("apply", "--server-side", "-k", str(overlay))
        try:
            yield
        finally:
            self.cluster.kubectl(
                "delete", "pytorchjob", self.job, f"--namespace={self.namespace}", "--ignore-not-found"
            )
            self.cluster.wait(lambda: not self.pods(), f"the pods of {self.job} are gone")

    @cached_property
    def folder(self) -> Path:
        """PROMETHIOS_OUTPUT, as this machine sees it; once the claim is bound."""
        return self.cluster.volume_of("promethios-training", self.namespace) / "runs" / self.job

    @property
    def store(self) -> Path:
        """The run's objects in the bucket, as files."""
        return self.cluster.bucket / STORE_PREFIX / self.job

    def losses(self) -> dict[int, float]:
        """Loss by step; of a step that was done again, the last one."""
        return {entry["step"]: entry["loss"] for entry in self.log_entries()}

    def log_entries(self) -> list[dict[str, Any]]:
        path = self.folder / "logs" / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def checkpoints(self) -> list[int]:
        """Steps of the complete checkpoints on the volume."""
        return sorted(int(path.parent.name.split("-")[1]) for path in self.folder.glob("checkpoint-*/MANIFEST.json"))

    def stored_checkpoints(self) -> list[int]:
        """Steps of the complete checkpoints in the object store."""
        return sorted(int(path.parent.name.split("-")[1]) for path in self.store.glob("checkpoint-*/MANIFEST.json"))

    def pods(self) -> list[dict[str, Any]]:
        return pods(self.cluster, self.job, self.namespace)

    def has(self, kind: str) -> bool:
        """Whether the job is, or was, `Running`, `Succeeded`, ..."""
        return condition(self.cluster, kind, self.job, self.namespace)

    def ranks(self) -> list[psutil.Process]:
        """The processes that train, as this machine sees them."""
        found = [process for name in ("python", "python3.11") for process in self.cluster.processes(name)]
        return [process for process in found if "promethios.train_governance_model" in process.cmdline()[1:4]]

    def wait_for_step(self, step: int, timeout: float = 300) -> None:
        """At once, so that what the test does next happens in the middle of the run."""
        self._wait(lambda: max(self.losses(), default=0) >= step, f"{self.job} reaches step {step}", timeout, poll=0.1)

    def wait_until_trained(self, timeout: float = 300) -> None:
        """Until the model is written; the evaluation follows."""
        self._wait(lambda: (self.folder / "training_run.json").exists(), f"{self.job} is trained", timeout)

    def wait_until_succeeded(self, timeout: float = 400) -> None:
        self._wait(lambda: self.has("Succeeded"), f"{self.job} succeeds", timeout)

    def _wait(self, condition: Callable[[], bool], what: str, timeout: float, poll: float = 1.0) -> None:
        """Looks rarely at what costs a call of kubectl: the training shares the processors."""
        looked = time.monotonic()

        def reached() -> bool:
            nonlocal looked
            if time.monotonic() - looked > 5:
                looked = time.monotonic()
                assert not self.has("Failed"), f"{self.job} failed\n{self.explain()}"
            return condition()

        self.cluster.wait(reached, what, timeout, self.explain, poll)

    def explain(self) -> str:
        """Events, ledger and the end of the logs."""
        ledger = self.folder / "attempts.jsonl"
        words = (f"--namespace={self.namespace}", "--all-containers", "--tail=25")
        return "\n".join(
            [
                events(self.cluster, self.namespace),
                ledger.read_text() if ledger.exists() else "no ledger",
                *(self.cluster.kubectl("logs", pod["metadata"]["name"], *words, check=False) for pod in self.pods()),
            ]
        )
