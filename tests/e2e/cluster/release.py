"""The chart in a real cluster, installed as a user would: access file and secrets made with `promethios keys`."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.cluster import webhook
from tests.e2e.cluster.binaries import BIN as PROGRAMS
from tests.e2e.cluster.cluster import Cluster
from tests.e2e.cluster.control_plane import Place
from tests.e2e.cluster.images import POSTGRESQL, TAG
from tests.e2e.cluster.real import S3_PORT, RealCluster

CHART = Path(__file__).parents[3] / "helm" / "promethios"
BIN = Path(sys.executable).parent
CONNECT = """\
import socket, sys
try: socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3)
except OSError as error: print(error)
"""
SCOPES = {"app": "infer", "engine": "engine", "ann": "review", "boss": "admin", "sensor": "telemetry"}


@dataclass
class Release:
    """An installation: its values, its keys by id, and how to reach it."""

    cluster: RealCluster
    namespace: str
    name: str = "governed"
    keys: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def helm(self, *words: str, check: bool = True) -> str:
        """What helm prints."""
        command = [
            str(BIN / "helm"),
            f"--kubeconfig={self.cluster.kubeconfig}",
            f"--namespace={self.namespace}",
            *words,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise RuntimeError(f"helm {' '.join(words)} failed: {done.stderr}\n{self.explain()}")
        return done.stdout

    def kubectl(self, *words: str, **options: Any) -> str:
        return self.cluster.kubectl(*words, f"--namespace={self.namespace}", **options)

    def make_keys(self) -> None:
        """Keys of every scope, and the Secret with the access file and what else the chart wants."""
        entries = []
        for name, scope in SCOPES.items():
            command = [str(BIN / "promethios"), "keys", "--id", name, "--scopes", scope]
            made = subprocess.run(command, capture_output=True, text=True, check=True)
            self.keys[name] = made.stdout.strip()
            entries += [line for line in made.stderr.splitlines() if not line.startswith("#")]
        url = f"postgresql://promethios:password@{self.name}-promethios-postgresql/promethios"
        contents = {
            "access.yaml": "keys:\n" + "\n".join(entries) + "\n",
            "hub-key": self.keys["engine"],
            "infer-key": self.keys["app"],
            "database-url": url,
            "postgresql-password": "password",
            "session-secret": "0123456789abcdef0123456789abcdef",
        }
        data = {key: base64.b64encode(text.encode()).decode() for key, text in contents.items()}
        metadata = {"name": "promethios", "namespace": self.namespace}
        self.cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})

    def install(self, model: dict[str, str], spool: str, audit: str) -> None:
        """helm upgrade --install of engine, hub and PostgreSQL, and wait until all of it is ready.

        model: values of engine.model.persistentVolumeClaim. spool, audit: claims. The hub tells the node's webhook.
        """
        self.values = {
            "access": {"existingSecret": {"name": "promethios"}},
            "service": {"type": "NodePort"},  # so that this machine, outside the cluster, goes through the Service
            "engine": {
                "image": {"repository": "promethios/engine-cpu", "tag": TAG},
                "model": {"persistentVolumeClaim": model},
                "resources": {"requests": {"cpu": "200m", "memory": "2Gi"}, "limits": {"memory": "6Gi"}},
                "gpus": 0,
                "shmSize": "1Gi",
                "vllmArguments": ["--max-num-seqs=16"],
                "spool": {"existingClaim": spool},
                "audit": {"existingClaim": audit},
                "drain": {"settleSeconds": 8, "waitSeconds": 120, "shutdownSeconds": 10},
                "governance": {"auditRate": 0.2},
            },
            "hub": {
                "enabled": True,
                "engineKey": {"existingSecret": {"name": "promethios"}},
                "database": {"existingSecret": {"name": "promethios"}},
                "session": {"existingSecret": {"name": "promethios"}},
                "webhook": {"url": webhook.url(self.cluster.place)},
            },
            "postgresql": {
                "enabled": True,
                "image": {
                    "repository": f"docker.io/library/{POSTGRESQL.partition(':')[0]}",
                    "tag": POSTGRESQL.partition(":")[2],
                },
                "existingSecret": {"name": "promethios"},
                "storage": {"size": "1Gi"},
            },
            "networkPolicy": {
                "allowFrom": [{"podSelector": {}}, {"ipBlock": {"cidr": f"{self.cluster.place.gateway}/32"}}],
                "hubEgress": [to_the_node(self.cluster.place, webhook.PORT)],
            },
        }
        self.upgrade()

    def install_engine(self, like: Release, store: dict[str, Any]) -> None:
        """An engine alone, otherwise as in another release, with its model from an object store; waits for nothing."""
        engine = {**like.values["engine"], "model": {"objectStore": store}, "audit": {}, "spool": {}}
        self.keys = like.keys
        self.values = {**{key: like.values[key] for key in ("access", "service")}, "engine": engine}
        self.values["networkPolicy"] = {
            "allowFrom": like.values["networkPolicy"]["allowFrom"],
            "engineEgress": [to_the_node(self.cluster.place, S3_PORT)],
        }
        self.apply_values()

    def install_wrapped(self, like: Release, experiment: str) -> None:
        """A wrapped engine with a ConfigMap's experiment and the hub of another release; waits for nothing."""
        secret = {"name": "promethios", "key": "infer-key"}
        self.keys = like.keys
        self.values = {
            **{key: like.values[key] for key in ("access", "service")},
            "engine": {
                "image": {"repository": "promethios/engine-wrapped", "tag": TAG},
                "experimentConfigMap": {"name": experiment},
                "env": [{"name": "ENGINE_KEY", "valueFrom": {"secretKeyRef": secret}}],
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
            },
            "hub": {
                "url": f"http://{like.name}-promethios-hub:8080",
                "engineKey": {"existingSecret": {"name": "promethios"}},
            },
            "networkPolicy": {
                "allowFrom": like.values["networkPolicy"]["allowFrom"],
                "engineEgress": [{"to": [{"podSelector": {"matchLabels": {"app.kubernetes.io/instance": like.name}}}]}],
            },
        }
        self.apply_values()

    def apply_values(self) -> None:
        """helm upgrade --install; waits for nothing."""
        values = self.cluster.place.state / f"{self.name}-values.json"
        values.write_text(json.dumps(self.values))
        self.helm("upgrade", "--install", self.name, str(CHART), f"--values={values}")

    def upgrade(self) -> None:
        """Bring the release to its values, and wait."""
        self.apply_values()
        for kind in (
            "statefulset/{}-promethios-postgresql",
            "deployment/{}-promethios-hub",
            "deployment/{}-promethios-engine",
        ):
            self.rolled_out(kind.format(self.name))

    def rolled_out(self, workload: str, timeout: int = 400) -> None:
        try:
            self.kubectl("rollout", "status", workload, f"--timeout={timeout}s", timeout=timeout + 10)
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{self.explain()}") from None

    def explain(self) -> str:
        """What a person would look at first."""
        parts = [self.kubectl("get", "pods", "-o", "wide", check=False)]
        parts.append(self.kubectl("get", "events", "--sort-by=.lastTimestamp", check=False)[-3000:])
        for part in ("engine", "hub", "postgresql"):
            selector = f"--selector=app.kubernetes.io/component={part}"
            parts.append(self.kubectl("logs", selector, "--all-containers", "--tail=40", check=False)[-4000:])
        return "\n".join(parts)

    @property
    def engine_url(self) -> str:
        """The engine's Service, from this machine."""
        service = self.cluster.get("service", f"{self.name}-promethios-engine", f"--namespace={self.namespace}")
        return f"http://{self.cluster.place.address}:{service['spec']['ports'][0]['nodePort']}"

    @contextmanager
    def forwarded(self, part: str, port: int) -> Iterator[str]:
        """URL of a Service through kubectl port-forward, once a pod behind it is ready."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            local = probe.getsockname()[1]
        command = [str(PROGRAMS / "kubectl"), f"--kubeconfig={self.cluster.kubeconfig}"]
        command += [f"--namespace={self.namespace}", "port-forward", f"service/{self.name}-promethios-{part}"]
        tries: list[subprocess.Popen[bytes]] = []

        def reached() -> bool:
            if not tries or tries[-1].poll() is not None:  # it ends when its pod does
                silent = subprocess.DEVNULL
                tries.append(subprocess.Popen([*command, f"{local}:{port}"], stdout=silent, stderr=silent))
            return answers(f"http://127.0.0.1:{local}/ready")

        try:
            self.cluster.wait(reached, f"{part} is reached", timeout=120)
            yield f"http://127.0.0.1:{local}"
        finally:
            tries[-1].kill()
            tries[-1].wait()

    def reaches(self, source: str, host: str, port: int) -> bool:
        """Whether a pod, by its name, opens a TCP connection; what no policy allows is refused or dropped."""
        command = ["python", "-c", CONNECT, host, str(port)]
        return not self.cluster.kubectl("exec", f"--namespace={self.namespace}", source, "--", *command)

    def remains(self) -> list[str]:
        """Everything in the namespace that carries the release's label, of whatever kind."""
        kinds = self.cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "--output=name").split()
        selector = f"--selector=app.kubernetes.io/instance={self.name}"
        return self.kubectl("get", ",".join(kinds), selector, "--output=name").split()

    def pods(self, part: str) -> list[dict[str, Any]]:
        """The pods of a part that are not about to end."""
        selector = f"--selector=app.kubernetes.io/component={part},app.kubernetes.io/instance={self.name}"
        found = self.cluster.items("pods", selector, f"--namespace={self.namespace}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def kill(self, pod: dict[str, Any]) -> None:
        """kill -9 of everything in a pod's containers."""
        for process in psutil.process_iter(["name"]):
            with suppress(psutil.Error, OSError):  # it ended while we looked
                inside = f"/pod{pod['metadata']['uid']}/" in Path(f"/proc/{process.pid}/cgroup").read_text()
                if inside and process.info["name"] != "pause":  # that one holds the pod's namespaces
                    process.kill()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (OSError, urllib.error.URLError):
        return False


def get_json(url: str, key: str) -> Any:
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def post_json(url: str, key: str, body: Any) -> Any:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=60) as reply:
        return json.load(reply)


def to_the_node(place: Place, port: int) -> dict[str, Any]:
    """An egress rule to a server on the node."""
    return {"to": [{"ipBlock": {"cidr": f"{place.address}/32"}}], "ports": [{"port": port}]}


def claim(name: str, namespace: str, mode: str = "ReadWriteMany") -> dict[str, Any]:
    """A claim that the cluster's own volumes satisfy."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}},
    }


def restricted_namespace(cluster: Cluster, name: str) -> None:
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": label}})
