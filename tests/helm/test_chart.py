"""What the chart renders for each supported shape."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.cluster.binaries import BIN
from tests.helm.rendered import CHART, SHAPES, helm, objects, one, pods

ROOT = CHART.parents[1]
CPU = CHART / "ci" / "cpu-values.yaml"
MINIMAL = CHART / "ci" / "minimal-values.yaml"
FULL = CHART / "ci" / "cuda-pvc-values.yaml"
by_shape = pytest.mark.parametrize("values", SHAPES, ids=lambda path: path.name.removesuffix("-values.yaml"))


@by_shape
def test_helm_lints_a_shape_strictly(values: Path) -> None:
    done = helm("lint", "--strict", str(CHART), "--values", str(values))
    assert done.returncode == 0, done.stdout


@by_shape
def test_every_pod_is_restricted_and_cannot_write_its_root(values: Path) -> None:
    for name, _, spec in pods(objects(values)):
        security = spec["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"], name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec["automountServiceAccountToken"] and not spec["enableServiceLinks"]
        assert not any(spec.get(host) for host in ("hostNetwork", "hostPID", "hostIPC"))
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            own = container["securityContext"]
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert own["readOnlyRootFilesystem"] and not own["allowPrivilegeEscalation"]
            assert {"requests", "limits"} <= set(container["resources"]), (name, container["name"])
        allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "secret", "image"}
        assert {kind for volume in spec.get("volumes", []) for kind in volume if kind != "name"} <= allowed


@by_shape
def test_every_mount_has_its_volume_and_every_volume_is_mounted(values: Path) -> None:
    for each in objects(values):
        for name, _, spec in pods([each]):
            claims = [claim["metadata"]["name"] for claim in each["spec"].get("volumeClaimTemplates", [])]
            volumes = {*claims, *(volume["name"] for volume in spec.get("volumes", []))}
            containers = [*spec["containers"], *spec.get("initContainers", [])]
            mounted = {mount["name"] for container in containers for mount in container.get("volumeMounts", [])}
            assert mounted == volumes, name


@by_shape
def test_every_selector_finds_its_pods_and_no_others(values: Path) -> None:
    rendered = objects(values)
    for each in rendered:
        spec = each.get("spec", {})
        selector = spec.get("selector", {})
        wanted = selector.get("matchLabels", selector) if each["kind"] != "ServiceMonitor" else None
        if wanted:
            found = {name for name, labels, _ in pods(rendered) if wanted.items() <= labels.items()}
            assert found == {each["metadata"]["name"]}, each["metadata"]["name"]


@by_shape
def test_every_port_that_is_named_exists(values: Path) -> None:
    rendered = objects(values)
    for service in (each for each in rendered if each["kind"] == "Service"):
        matching = [spec for _, labels, spec in pods(rendered) if service["spec"]["selector"].items() <= labels.items()]
        names = {port["name"] for spec in matching for container in spec["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names


@by_shape
def test_every_setting_is_one_that_the_product_documents(values: Path) -> None:
    readmes = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "serving").rglob("README.md"))
    named = {
        variable["name"]
        for _, _, spec in pods(objects(values))
        for container in spec["containers"]
        for variable in container.get("env", [])
        if variable["name"].startswith("PROMETHIOS_")
    }
    documented = set(re.findall(r"`(PROMETHIOS_\w+)`", readmes))
    assert named and named <= documented


@by_shape
def test_every_pod_is_covered_by_default_deny_and_a_policy_of_its_own(values: Path) -> None:
    rendered = objects(values)
    policies = [each["spec"] for each in rendered if each["kind"] == "NetworkPolicy"]
    for name, labels, _ in pods(rendered):
        covering = [each for each in policies if each["podSelector"]["matchLabels"].items() <= labels.items()]
        assert len(covering) == 2, name
        assert all("Ingress" in each["policyTypes"] for each in covering)


def test_the_values_file_and_the_schema_name_the_same_keys() -> None:
    def same(values: Any, schema: dict[str, Any], place: str) -> None:
        if "properties" not in schema:
            return
        assert set(values) == set(schema["properties"]) - {"global"}, place
        assert schema["additionalProperties"] is False, place
        for key, value in values.items():
            same(value, schema["properties"][key], f"{place}.{key}")

    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    same(yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8")), schema, "values")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((), "engine.model: set one of"),
        (("engine.modell.x=1",), "modell"),
        (("engine.replicas=two",), "replicas"),
        (("engine.governance.expose=scores",), "expose"),
        (("engine.model.persistentVolumeClaim.name=m", "hub.enabled=true"), "access.existingSecret.name"),
        (("engine.model.persistentVolumeClaim.name=m", "engine.autoscaling.kind=keda"), "prometheusAddress"),
        (("engine.model.persistentVolumeClaim.name=m", "engine.drain.waitSeconds=5"), "settleSeconds"),
        (
            (
                "engine.model.persistentVolumeClaim.name=m",
                "engine.telemetry.url=http://t/",
                "engine.telemetry.fileConfigMap.name=t",
            ),
            "engine.telemetry: set one of",
        ),
    ],
)
def test_values_that_cannot_work_are_refused_with_the_key(settings: tuple[str, ...], said: str) -> None:
    done = helm("template", "governed", str(CHART), *(word for each in settings for word in ("--set", each)))
    assert done.returncode != 0
    assert said in done.stderr


def test_the_grace_period_covers_drain_and_shutdown() -> None:
    settings = ("--set", "engine.drain.waitSeconds=100", "--set", "engine.drain.shutdownSeconds=50")
    spec = one(objects(MINIMAL, *settings), "Deployment", "engine")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] > 150
    assert "--shutdown-timeout=50" in spec["containers"][0]["args"]
    assert "--wait_s=100" in spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]


def test_an_autoscaler_owns_the_replicas() -> None:
    assert one(objects(MINIMAL), "Deployment", "engine")["spec"]["replicas"] == 1
    for name, kind in (("hpa", "HorizontalPodAutoscaler"), ("keda", "ScaledObject")):
        rendered = objects(CHART / "ci" / f"{name}-values.yaml")
        assert "replicas" not in one(rendered, "Deployment", "engine")["spec"]
        target = one(rendered, kind, "engine")["spec"]["scaleTargetRef"]["name"]
        assert target == one(rendered, "Deployment", "engine")["metadata"]["name"]


def test_rendering_twice_gives_the_same_bytes() -> None:
    first, second = (helm("template", "governed", str(CHART), "--values", str(FULL)).stdout for _ in range(2))
    assert first and first == second


def test_helm_test_asks_with_the_key_it_is_given_and_as_a_stranger_without() -> None:
    [spec] = [spec for name, _, spec in pods(objects(FULL)) if name.endswith("test-ask")]
    assert spec["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "promethios", "key": "infer-key"}
    [stranger] = [spec for name, _, spec in pods(objects(CPU)) if name.endswith("test-ask")]
    assert "env" not in stranger["containers"][0]
    for asks, refused in ((spec, False), (stranger, True)):
        program = asks["containers"][0]["args"][0]
        assert f"refused = {refused}" in program
        compile(program, "ask", "exec")


def test_each_replica_writes_an_audit_log_of_its_own() -> None:
    container = one(objects(FULL), "Deployment", "engine")["spec"]["template"]["spec"]["containers"][0]
    names = [variable["name"] for variable in container["env"]]
    assert names.index("POD_NAME") < names.index("PROMETHIOS_AUDIT_LOG")
    assert {"name": "PROMETHIOS_AUDIT_LOG", "value": "/audit/$(POD_NAME).jsonl"} in container["env"]


def test_nobody_outside_the_namespace_reaches_the_api_by_default() -> None:
    rendered = objects(CPU)
    for part in ("engine", "hub"):
        [rule] = one(rendered, "NetworkPolicy", f"promethios-{part}")["spec"]["ingress"]
        outside = [peer["namespaceSelector"] for peer in rule["from"] if "namespaceSelector" in peer]
        assert outside == [{"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}]


def test_no_secret_is_made_or_written_out() -> None:
    assert not [each for each in objects(FULL) if each["kind"] == "Secret"]
    for _, _, spec in pods(objects(CPU)):
        for variable in (each for container in spec["containers"] for each in container.get("env", [])):
            if re.search("KEY$|SECRET$|PASSWORD$|DATABASE_URL$", variable["name"]):
                assert "secretKeyRef" in variable["valueFrom"], variable["name"]


def test_the_chart_and_the_package_have_one_version() -> None:
    from promethios import __version__

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == __version__


def test_the_example_of_the_readme_renders() -> None:
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    command = re.search(r"^helm install governed helm/promethios(.*?)\nhelm test", readme, re.M | re.S)
    assert command is not None
    words = command.group(1).replace("\\\n", " ").split()
    assert helm("template", "governed", str(CHART), *words).returncode == 0


def test_the_suites_of_helm_unittest_pass() -> None:
    program = shutil.which("helm-unittest", path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("no helm-unittest (go install github.com/helm-unittest/helm-unittest/cmd/helm-unittest@v1.1.2)")
    done = subprocess.run([program, str(CHART)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_an_engine_for_gpus_asks_for_them() -> None:
    def limits(values: Path, *settings: str) -> Any:
        spec = one(objects(values, *settings), "Deployment", "engine")["spec"]["template"]["spec"]
        return spec["containers"][0]["resources"]["limits"]

    assert "nvidia.com/gpu" not in limits(CPU)
    assert limits(MINIMAL)["nvidia.com/gpu"] == 1
    assert limits(MINIMAL, "--set", "engine.gpus=4") == {"memory": "48Gi", "nvidia.com/gpu": 4}
