"""Overlays and components render, alone and together, and stand where the README says."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

from tests.manifests.rendered import (
    COMPONENTS,
    MANIFESTS,
    OVERLAYS,
    ROOT,
    Object,
    one,
    overlay,
    render,
    training_pod,
    with_components,
)

README = (MANIFESTS / "README.md").read_text(encoding="utf-8")
SETTING = re.compile(r"\bPROMETHIOS_[A-Z_]*[A-Z]\b")
CLUSTER_WIDE = {"Namespace"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_brings_all_that_a_job_needs(name: str) -> None:
    kinds = {each["kind"] for each in overlay(name)}
    assert kinds == {
        *("Namespace", "ServiceAccount", "ConfigMap", "PersistentVolumeClaim", "NetworkPolicy", "PyTorchJob"),
    }


def test_the_namespace_asks_for_restricted_pods() -> None:
    labels = one(overlay("8xa100-40gb"), "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def assert_all_in(namespace: str, objects: list[Object]) -> None:
    for each in objects:
        if each["kind"] in CLUSTER_WIDE:
            assert each["metadata"]["name"] == namespace
        else:
            assert each["metadata"]["namespace"] == namespace, each["metadata"]["name"]


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_goes_by_itself_into_the_namespace_of_the_overlay(component: str, tmp_path: Path) -> None:
    assert_all_in("mine", with_components(tmp_path, "cpu-rehearsal", [component]))


@pytest.mark.parametrize("name", OVERLAYS)
def test_all_components_go_together_with_every_overlay(name: str, tmp_path: Path) -> None:
    # The rehearsal with two pods has its second one already.
    components = [each for each in COMPONENTS if each != "worker-pod" or "2-pods" not in name]
    objects = with_components(tmp_path, name, components)
    assert_all_in("mine", objects)
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(names) == len(set(names))


def test_the_overlay_in_the_readme_works(tmp_path: Path) -> None:
    match = re.search(r"```yaml\n# my-training/kustomization.yaml\n(.*?)```", README, re.DOTALL)
    assert match
    text = match[1].replace("../promethios/manifests", os.path.relpath(MANIFESTS, tmp_path))
    (tmp_path / "kustomization.yaml").write_text(text)
    objects = render(tmp_path)
    assert_all_in("promethios", objects)
    settings = one(objects, "ConfigMap")["data"]
    assert settings["PROMETHIOS_NUM_EXAMPLES"] == "50000"
    assert settings["PROMETHIOS_STORE_ROOT"] == "s3://my-bucket/promethios"
    assert settings["PROMETHIOS_MAX_ATTEMPTS"] == "20"  # what is not named stays
    [container] = training_pod(objects)["containers"]
    assert container["image"].startswith("registry.example/me/promethios/train:")
    assert container["args"] == ["--set", "training.epochs=1"]


def test_the_namespace_can_be_left_out_as_the_readme_says(tmp_path: Path) -> None:
    match = re.search(r"```yaml\n(patches:\n  - patch: \|-\n      \$patch: delete.*?)```", README, re.DOTALL)
    assert match
    kustomization = f"resources: [{os.path.relpath(MANIFESTS / 'overlays' / 'cpu-rehearsal', tmp_path)}]\n{match[1]}"
    (tmp_path / "kustomization.yaml").write_text(kustomization)
    assert "Namespace" not in {each["kind"] for each in render(tmp_path)}


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_object_says_what_it_belongs_to(name: str) -> None:
    for each in overlay(name):
        if each["kind"] not in CLUSTER_WIDE:
            labels = each["metadata"]["labels"]
            assert labels["app.kubernetes.io/name"] == labels["app.kubernetes.io/part-of"] == "promethios"
            assert labels["app.kubernetes.io/component"] == "training"


def test_kueue_gets_the_job_into_its_queue(tmp_path: Path) -> None:
    objects = with_components(tmp_path, "8xa100-40gb", ["kueue"])
    queue = one(objects, "PyTorchJob")["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
    assert queue == one(objects, "LocalQueue")["metadata"]["name"]


def test_the_operator_gets_the_init_container_that_restricted_accepts(tmp_path: Path) -> None:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "training-operator", "namespace": "kubeflow"},
        "spec": {"template": {"spec": {"containers": [{"name": "o", "volumeMounts": []}], "volumes": []}}},
    }
    (tmp_path / "operator.yaml").write_text(yaml.safe_dump(deployment))
    component = os.path.relpath(MANIFESTS / "cluster" / "restricted-workers", tmp_path)
    kustomization = {"resources": ["operator.yaml"], "components": [component]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    objects = render(tmp_path)
    pod = one(objects, "Deployment")["spec"]["template"]["spec"]
    [volume] = pod["volumes"]
    template = one(objects, "ConfigMap", volume["configMap"]["name"])["data"]["initContainer.yaml"]
    assert pod["containers"][0]["volumeMounts"][0]["mountPath"] == "/etc/config"  # where the operator looks for it
    # The operator fills the Go template in and parses the rest as YAML.
    [container] = yaml.safe_load(re.sub(r"{{\.(\w+)}}", r"\1", template))
    assert container["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def settings(objects: list[Object]) -> set[str]:
    return set(SETTING.findall(yaml.safe_dump_all(objects)))


def test_every_setting_is_one_that_something_reads(tmp_path: Path) -> None:
    script = (ROOT / "images" / "train" / "run_training.sh").read_text(encoding="utf-8")
    python = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "promethios").rglob("*.py"))
    read = set(SETTING.findall(script)) | set(SETTING.findall(python))
    for_the_manifests_only = {"PROMETHIOS_RUN", "PROMETHIOS_STORE_ROOT"}
    used = set().union(*(settings(overlay(name)) for name in OVERLAYS))
    used |= settings(with_components(tmp_path, "cpu-rehearsal", COMPONENTS))
    assert used <= read | for_the_manifests_only
    assert used <= set(SETTING.findall(README)), "manifests/README.md lists the settings"


def test_the_readme_names_every_overlay_and_component() -> None:
    for name in (*OVERLAYS, *COMPONENTS, "namespace"):
        assert f"`{name}`" in README, name
