"""The cluster's Go programs, built from the modules pinned below programs/ into a cache.

A module is built again when its content changes: go.mod, go.sum, sources, Go version, build flags. The programs lie in
<cache>/bin, what a module brings besides programs (manifests, stages) in <cache>/share.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SOURCES = Path(__file__).parent / "programs"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "promethios-e2e"
BIN = CACHE / "bin"
SHARE = CACHE / "share"
KUBERNETES = "k8s.io/kubernetes"


@dataclass(frozen=True)
class Module:
    """One folder below programs/: its programs (name: Go package) and folders to keep (name: folder of a Go module)."""

    name: str
    programs: dict[str, str]
    share: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return SOURCES / self.name

    def ldflags(self) -> str:
        """Kubernetes reports its own version (clients check it) only when the linker is told."""
        found = re.search(rf"^require {KUBERNETES} v(\d+)\.(\d+)\.(\S+)", (self.folder / "go.mod").read_text(), re.M)
        if not found:
            return "-s -w"
        major, minor, patch = found.groups()
        facts = {"gitVersion": f"v{major}.{minor}.{patch}", "gitMajor": major, "gitMinor": minor}
        facts["gitTreeState"] = "clean"
        return "-s -w " + " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in facts.items())

    def key(self) -> str:
        """Everything the programs depend on, as one hash."""
        digest = hashlib.sha256(subprocess.check_output([go(), "version"]))
        digest.update(repr((self.programs, self.share, self.ldflags())).encode())
        for path in sorted(self.folder.iterdir()):
            digest.update(path.name.encode() + path.read_bytes())
        return digest.hexdigest()


_kube = {name: f"{KUBERNETES}/cmd/{name}" for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")}
_node = {name: f"{KUBERNETES}/cmd/{name}" for name in ("kubelet", "kube-proxy")}
_operator = "github.com/kubeflow/training-operator"
_kwok = "sigs.k8s.io/kwok"
# In this order, so that what needs few programs can start early.
MODULES = (
    Module("kube", {"kubectl": f"{KUBERNETES}/cmd/kubectl", **_kube, **_node}),
    Module("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}),
    Module(
        "training-operator",
        {"training-operator": f"{_operator}/cmd/training-operator.v1"},
        {"training-operator": (_operator, "manifests")},
    ),
    Module("kwok", {"kwok": f"{_kwok}/cmd/kwok"}, {"kwok-stages": (_kwok, "kustomize/stage")}),
    Module("coredns", {"coredns": "."}),
    Module("kube-router", {"kube-router": "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"}),
    Module("versitygw", {"versitygw": "github.com/versity/versitygw/cmd/versitygw"}),
    Module("pause", {"pause": "."}),
    Module("helm-unittest", {"helm-unittest": "github.com/helm-unittest/helm-unittest/cmd/helm-unittest"}),
    Module(
        "definitions",
        {},
        {
            "prometheus-operator": (
                "github.com/prometheus-operator/prometheus-operator",
                "example/prometheus-operator-crd",
            ),
            "keda": ("github.com/kedacore/keda/v2", "config/crd/bases"),
            "gateway-api": ("sigs.k8s.io/gateway-api", "config/crd/standard"),
        },
    ),
)


def go() -> str:
    """Path of the Go compiler, also where its package or scripts/e2e-setup.sh put it but PATH does not say so."""
    found = (
        shutil.which("go") or shutil.which("/usr/local/go/bin/go") or shutil.which(CACHE / "go" / "go" / "bin" / "go")
    )
    if not found:
        raise FileNotFoundError(
            "the cluster's programs are built from source: run scripts/e2e-setup.sh, or install Go 1.24 or newer"
        )
    return found


@contextmanager
def cache_lock(name: str) -> Iterator[None]:
    """One builder at a time: two test sessions may start together."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(modules: tuple[Module, ...] = MODULES) -> None:
    """Build what is not in the cache yet. Cold: 10 to 25 minutes on two cores; cached: a fraction of a second."""
    with cache_lock("build"):
        for module in modules:
            stamp = CACHE / f".{module.name}.key"
            if not stamp.exists() or stamp.read_text() != module.key():
                _build(module)
                stamp.write_text(module.key())


def _build(module: Module) -> None:
    started = time.monotonic()
    print(f"building {', '.join([*module.programs, *module.share])}", file=sys.stderr, flush=True)
    environment = {**os.environ, "CGO_ENABLED": "0"}
    BIN.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        common = [go(), "build", "-trimpath", "-buildvcs=false", "-ldflags", module.ldflags(), "-o"]
        if len(module.programs) == 1:
            [(name, package)] = module.programs.items()
            _go([*common, f"{scratch}/{name}", package], module, environment)
        elif module.programs:
            # One command for all: they share nearly all packages, and the linker runs in parallel.
            _go([*common, f"{scratch}/", *module.programs.values()], module, environment)
        for name in module.programs:
            Path(scratch, name).replace(BIN / name)  # a program that runs meanwhile keeps its old file
    for name, (go_module, folder) in module.share.items():
        # Also where no program of the module has brought it; its content is checked against go.sum.
        source = json.loads(_go([go(), "mod", "download", "-json", go_module], module, environment))["Dir"]
        shutil.rmtree(SHARE / name, ignore_errors=True)
        shutil.copytree(Path(source) / folder, SHARE / name, copy_function=shutil.copyfile)
    print(f"built in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _go(command: list[str], module: Module, environment: dict[str, str]) -> str:
    """What Go prints."""
    done = subprocess.run(command, cwd=module.folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"go {command[1]} of {module.name} failed:\n{done.stderr[-4000:]}")
    return done.stdout
