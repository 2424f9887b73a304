"""The chart, rendered by the real helm."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "helm" / "promethios"
SHAPES = sorted((CHART / "ci").glob("*-values.yaml"))
HELM = Path(sys.executable).with_name("helm")


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, check=False)


@cache
def objects(values: Path, *settings: str) -> list[dict[str, Any]]:
    """Return what an installation with these values makes."""
    done = helm("template", "governed", str(CHART), "--namespace", "ns", "--values", str(values), *settings)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def pods(rendered: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Return (name, labels, pod spec) of everything that makes pods."""
    found = []
    for each in rendered:
        if each["kind"] == "Pod":
            found.append((each["metadata"]["name"], each["metadata"]["labels"], each["spec"]))
        elif "template" in each.get("spec", {}):
            template = each["spec"]["template"]
            found.append((each["metadata"]["name"], template["metadata"]["labels"], template["spec"]))
    return found


def one(rendered: list[dict[str, Any]], kind: str, ending: str) -> dict[str, Any]:
    found = [each for each in rendered if each["kind"] == kind and each["metadata"]["name"].endswith(ending)]
    assert len(found) == 1, [each["metadata"]["name"] for each in rendered]
    return found[0]
