"""A Kubernetes cluster in namespaces of this machine: start it, talk to it, and it is gone when its owner is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.cluster import keeper
from tests.e2e.cluster.binaries import BIN, CACHE
from tests.e2e.cluster.control_plane import Component, Place

CLUSTERS = CACHE / "clusters"
NODE = "promethios-node"
KUBELET_SYSCTLS = ["vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"]
KUBELET_SYSCTLS += ["kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"]


def missing(programs: tuple[str, ...] = ()) -> str:
    """Why no cluster can run here, or nothing."""
    if os.geteuid() != 0:
        return "needs root (network and mount namespaces)"
    absent = [name for name in ("ip", "unshare", "setpriv", *programs) if not shutil.which(name)]
    if absent:
        return f"needs the programs {', '.join(absent)}; run scripts/e2e-setup.sh"
    if subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True).returncode:
        return "may not create namespaces"
    return ""


def choose_place(name: str) -> Place:
    """A fresh state folder and a network number that no other cluster has."""
    keeper.remove_stale(CLUSTERS)
    for number in range(256):
        if not Path(f"/sys/class/net/promethios{number}").exists():
            state = CLUSTERS / f"{name}-{number}"
            try:
                state.mkdir(parents=True)
            except FileExistsError:
                continue
            (state / "logs").mkdir()
            return Place(state, number)
    raise RuntimeError(f"256 clusters are up; remove some: python -m tests.e2e.cluster down ({CLUSTERS})")


def storage_class(name: str) -> dict[str, Any]:
    """A default storage class of volumes that are there beforehand."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


class Cluster:
    """A cluster and its API. `owned`: it ends with this process; else it stays until stop()."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.kubeconfig = place.kubeconfig("admin")
        self._owner: int | None = None

    def start(
        self,
        components: dict[str, Component],
        *,
        binds: dict[str, str] | None = None,
        pods: bool,
        exclusive: Path | None = None,
        owned: bool,
    ) -> None:
        """Start the components in namespaces of their own.

        binds: folders that they see in place of the machine's. pods: whether containers will run. exclusive: a folder
        that outlives the cluster, and that only one cluster may use at a time.
        """
        device, place = f"promethios{self.place.number}", self.place
        spec = {
            "state": str(place.state),
            "hostname": NODE,
            "cable": {"device": device, "address": f"{place.gateway}/30"},
            "network": {"device": "node0", "address": f"{place.address}/30", "gateway": place.gateway},
            "cgroup": device if pods else "",
            "exclusive": str(exclusive or ""),
            "binds": binds or {},
            "sysctls": KUBELET_SYSCTLS if pods else [],
            "components": {name: asdict(component) for name, component in components.items()},
            "logs": str(place.state / "logs"),
        }
        spec_file = place.state / "spec.json"
        spec_file.write_text(json.dumps(spec))
        command = [sys.executable, "-I", str(Path(keeper.__file__)), str(spec_file)]
        descriptors: tuple[int, ...] = ()
        if owned:
            inner, self._owner = os.pipe()
            command, descriptors = [*command, str(inner)], (inner,)
        with (place.state / "keeper.log").open("w") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=descriptors,
                start_new_session=True,
            )
        for descriptor in descriptors:
            os.close(descriptor)
        assert process.stdout
        if (answer := process.stdout.readline().decode().strip()) != "up":
            raise RuntimeError(answer or "the keeper of the cluster ended without a word")

    def wait_for_api(self) -> None:
        self.wait(lambda: self.kubectl("get", "--raw=/readyz", check=False) == "ok", "the API server is ready")

    def stop(self) -> None:
        """End it and everything in it; returns when nothing is left."""
        pid_file = self.place.state / "keeper.pid"
        if pid_file.exists():
            os.kill(int(pid_file.read_text()), signal.SIGTERM)
        deadline = time.monotonic() + 120
        while self.place.state.exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.place.state} is still there")
            time.sleep(0.05)
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None

    def kubectl(self, *words: str, stdin: str | None = None, check: bool = True, timeout: float = 120) -> str:
        """What kubectl prints. With `check` a failure raises, with its message; without, the message is appended."""
        done = subprocess.run(
            [str(BIN / "kubectl"), f"--kubeconfig={self.kubeconfig}", *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"kubectl {' '.join(words)} failed ({done.returncode}): {done.stderr}")
        return done.stdout if check else done.stdout + done.stderr

    def get(self, *words: str) -> dict[str, Any]:
        """`kubectl get ... -o json`: an object, or a list with `items`."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))  # type: ignore[no-any-return]

    def items(self, *words: str) -> list[dict[str, Any]]:
        return self.get(*words)["items"]  # type: ignore[no-any-return]

    def apply(self, *objects: dict[str, Any]) -> None:
        """Server-side, since the job's CRDs are larger than the annotation of a client-side apply may be."""
        content = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl("apply", "--server-side", "-f", "-", stdin=content)

    def wait(
        self,
        condition: Callable[[], Any],
        what: str,
        timeout: float = 120,
        explain: Callable[[], str] | None = None,
        poll: float = 0.2,
    ) -> Any:
        """The condition's first true value. It may raise while what it looks at is not there yet; when time is over,
        `explain` says what to report besides.
        """
        deadline = time.monotonic() + timeout
        reason = ""
        while time.monotonic() < deadline:
            try:
                if value := condition():
                    return value
            except (RuntimeError, KeyError, IndexError) as error:
                reason = f": {error}"
            time.sleep(poll)
        raise TimeoutError(f"not within {timeout:.0f} s: {what}{reason}\n{explain() if explain else ''}")

    def processes(self, program: str) -> list[psutil.Process]:
        """The cluster's processes whose command starts with this program, as this machine sees them."""
        keeper_process = psutil.Process(int((self.place.state / "keeper.pid").read_text()))
        found = []
        for process in keeper_process.children(recursive=True):
            try:
                if Path((process.cmdline() or [""])[0]).name == program:
                    found.append(process)
            except psutil.Error:  # it ended while we looked
                continue
        return found
