"""Write the schemas beside this file: of each custom resource what its CRD says, without descriptions and status.

    python tests/manifests/schemas/vendor.py

Needs Go: the CRDs come from the Go modules in the versions below.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.87.1"
SOURCES = {
    "PyTorchJob": ("github.com/kubeflow/training-operator@v1.9.4", "manifests/base/crds/kubeflow.org_pytorchjobs.yaml"),
    "PodMonitor": (OPERATOR, "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml"),
    "PrometheusRule": (OPERATOR, "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"),
    "LocalQueue": ("sigs.k8s.io/kueue@v0.15.2", "config/components/crd/bases/kueue.x-k8s.io_localqueues.yaml"),
}
KEPT_EXTENSIONS = {"x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"}


def slim(schema: Any) -> Any:
    """Return a schema without what validates nothing."""
    if isinstance(schema, list):
        return [slim(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        # A property may be called `description`.
        key: {name: slim(each) for name, each in value.items()} if key == "properties" else slim(value)
        for key, value in schema.items()
        if key != "description" and (not key.startswith("x-kubernetes") or key in KEPT_EXTENSIONS)
    }


def main() -> None:
    """Download the modules and write a file for each kind, named after kind and API version."""
    for kind, (module, path) in SOURCES.items():
        found = subprocess.check_output(["go", "mod", "download", "-json", module], text=True)
        definition = yaml.safe_load((Path(json.loads(found)["Dir"]) / path).read_text(encoding="utf-8"))
        newest = definition["spec"]["versions"][-1]
        schema = slim(newest["schema"]["openAPIV3Schema"])
        schema["properties"].pop("status", None)
        schema["properties"]["apiVersion"]["const"] = f"{definition['spec']['group']}/{newest['name']}"
        target = Path(__file__).with_name(f"{kind}.json")
        target.write_text(json.dumps(schema, separators=(",", ":"), sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
