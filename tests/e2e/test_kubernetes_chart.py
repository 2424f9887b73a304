"""Every shape of the chart on a real API server under Pod Security, with the real definitions of what others watch."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import definitions, jobs
from tests.e2e.cluster.cluster import Cluster
from tests.e2e.cluster.release import restricted_namespace
from tests.helm.rendered import CHART, SHAPES, objects, one

pytestmark = pytest.mark.e2e

FULL, HPA, KEDA, ROUTE = (CHART / "ci" / f"{name}-values.yaml" for name in ("cuda-pvc", "hpa", "keda", "image-model"))
by_shape = pytest.mark.parametrize("values", SHAPES, ids=lambda path: path.name.removesuffix("-values.yaml"))


@pytest.fixture(scope="module")
def api(light_cluster: Cluster) -> Cluster:
    definitions.install(light_cluster)
    return light_cluster


@contextmanager
def fresh(api: Cluster, namespace: str) -> Iterator[str]:
    """A namespace under Pod Security `restricted`."""
    restricted_namespace(api, namespace)
    try:
        yield namespace
    finally:
        api.kubectl("delete", "namespace", namespace, "--wait=false")


def strictly(api: Cluster, rendered: list[dict[str, Any]], namespace: str, *words: str) -> list[str]:
    """`kubectl apply` that refuses what it does not know; returns kind and name of what it made."""
    content = json.dumps({"apiVersion": "v1", "kind": "List", "items": rendered})
    command = ("apply", "--server-side", "--validate=strict", f"--namespace={namespace}", "--output=name")
    return api.kubectl(*command, "--filename=-", *words, stdin=content).split()


@by_shape
def test_a_shape_is_admitted_and_every_workload_gets_its_pods(api: Cluster, values: Path) -> None:
    with fresh(api, values.name.removesuffix("-values.yaml")) as namespace:
        made = strictly(api, objects(values), namespace)
        assert len(made) == len(objects(values))
        waiting = {name for name in made if name.startswith(("deployment.apps/", "statefulset.apps/"))}
        assert waiting

        def all_have_their_pods() -> bool:
            """Pod Security would refuse one that asked for more than it may have."""
            for name in sorted(waiting):
                workload = api.get(name, f"--namespace={namespace}")
                if workload["status"].get("replicas", 0) == workload["spec"]["replicas"] > 0:
                    waiting.remove(name)
            return not waiting

        api.wait(all_have_their_pods, "a pod for each replica", explain=lambda: jobs.events(api, namespace))


def test_a_horizontal_autoscaler_takes_hold_of_the_engines(api: Cluster) -> None:
    """No adapter serves its metric here, but the floor needs none."""
    with fresh(api, "scaled") as namespace:
        strictly(api, objects(HPA), namespace)
        engine = ("deployment/governed-promethios-engine", f"--namespace={namespace}")
        api.wait(lambda: api.get(*engine)["spec"]["replicas"] == 2, "two replicas")


def test_the_monitors_and_alerts_of_the_training_manifests_are_admitted(api: Cluster, tmp_path: Path) -> None:
    components = ["pod-monitor", "alerts"]
    overlay = jobs.write_overlay(tmp_path / "watched", "cpu-rehearsal", components=components, namespace="default")
    watching = [each for each in jobs.render(overlay) if each["apiVersion"].startswith("monitoring.coreos.com/")]
    assert {each["kind"] for each in watching} == {"PodMonitor", "PrometheusRule"}
    strictly(api, watching, "default", "--dry-run=server")


@pytest.mark.parametrize(
    ("values", "kind", "ending"),
    [
        (FULL, "ServiceMonitor", "engine"),
        (FULL, "PrometheusRule", "promethios"),
        (FULL, "Ingress", "promethios"),
        (HPA, "HorizontalPodAutoscaler", "engine"),
        (KEDA, "ScaledObject", "engine"),
        (ROUTE, "HTTPRoute", "engine"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_field_that_the_definition_does_not_know_is_refused(
    api: Cluster, values: Path, kind: str, ending: str
) -> None:
    sound = copy.deepcopy(one(objects(values), kind, ending))
    strictly(api, [sound], "default", "--dry-run=server")
    sound["spec"]["mistaken"] = True
    with pytest.raises(RuntimeError, match="mistaken"):
        strictly(api, [sound], "default", "--dry-run=server")
