"""What kustomize makes of the manifests, with the kubectl of PATH or the one that `make e2e` builds."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
OVERLAYS = sorted(path.name for path in (MANIFESTS / "overlays").iterdir() if path.is_dir())
GPU_OVERLAYS = [name for name in OVERLAYS if name.startswith("8x")]
# The second pod copies the first, so it comes last.
COMPONENTS = sorted(
    (path.name for path in (MANIFESTS / "components").iterdir() if path.name != "namespace"),
    key=lambda name: (name == "worker-pod", name),
)
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "promethios-e2e" / "bin"

Object = dict[str, Any]


@functools.cache
def kubectl() -> str:
    """Return the program's path; skips the test where there is none."""
    found = shutil.which("kubectl") or shutil.which("kubectl", path=str(CACHE))
    if found is None:
        pytest.skip("no kubectl in PATH, and `make e2e` has not built one yet")
    return found


def render(folder: Path) -> list[Object]:
    """Return the objects of a kustomization."""
    done = subprocess.run([kubectl(), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


@functools.cache
def overlay(name: str) -> list[Object]:
    """Return the objects of one overlay. Not to be changed by a test."""
    return render(MANIFESTS / "overlays" / name)


def with_components(folder: Path, name: str, components: list[str]) -> list[Object]:
    """Return an overlay of one's own, as ../../manifests/README.md describes it, written into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    kustomization = {
        "resources": [os.path.relpath(MANIFESTS / "overlays" / name, folder)],
        "namespace": "mine",
        "components": [os.path.relpath(MANIFESTS / "components" / each, folder) for each in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return render(folder)


def one(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """Return the only object of a kind (and name)."""
    [found] = [each for each in objects if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    return found


def pod_templates(objects: list[Object]) -> list[Object]:
    """Return every pod template: of the job's replicas and of Deployments."""
    templates: list[Object] = []
    for each in objects:
        if each["kind"] == "PyTorchJob":
            templates += [replica["template"] for replica in each["spec"]["pytorchReplicaSpecs"].values()]
        elif "template" in each.get("spec", {}):
            templates.append(each["spec"]["template"])
    return templates


def containers(template: Object) -> list[Object]:
    """Return a pod's containers, those of its init steps too."""
    spec = template["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def training_pod(objects: list[Object], replica: str = "Master") -> Object:
    """Return the pod specification of the job's first, or second, pod."""
    pod: Object = one(objects, "PyTorchJob")["spec"]["pytorchReplicaSpecs"][replica]["template"]["spec"]
    return pod


def quantity(text: str | int) -> float:
    """Return a Kubernetes quantity as a number: bytes, or cores."""
    suffixes = {"m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    text = str(text)
    for suffix, factor in sorted(suffixes.items(), key=lambda item: -len(item[0])):
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)
