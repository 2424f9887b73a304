"""Custom resources are what their definitions allow; built-in kinds are checked by the API server of `make e2e`."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.manifests.rendered import COMPONENTS, OVERLAYS, Object, one, overlay, with_components

SCHEMAS = Path(__file__).parent / "schemas"
KINDS = sorted(path.stem for path in SCHEMAS.glob("*.json"))


def strict(schema: Any) -> Any:
    """Return a structural schema of Kubernetes as JSON Schema that refuses unknown fields, as the server does."""
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    made = {key: value for key, value in schema.items() if key != "pattern"}  # of Go's dialect
    if "properties" in made:
        made["properties"] = {name: strict(each) for name, each in made["properties"].items()}
        open_ended = made.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in made
        made["additionalProperties"] = made.get("additionalProperties", bool(open_ended))
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = strict(made[key])
    return made


def check(each: Object) -> None:
    schema = strict(json.loads((SCHEMAS / f"{each['kind']}.json").read_text()))
    schema["properties"]["metadata"] = {"type": "object"}  # the definition leaves it to the server
    jsonschema.validate(each, schema)


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_job_is_a_valid_pytorchjob(name: str) -> None:
    check(one(overlay(name), "PyTorchJob"))


def test_every_custom_resource_of_the_components_is_valid(tmp_path: Path) -> None:
    objects = [each for each in with_components(tmp_path, "8xa100-40gb", COMPONENTS) if each["kind"] in KINDS]
    assert {each["kind"] for each in objects} == set(KINDS)
    for each in objects:
        check(each)


def test_a_field_that_does_not_exist_is_found() -> None:
    job = copy.deepcopy(one(overlay("cpu-rehearsal"), "PyTorchJob"))
    job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0]["securityContexts"] = {}
    with pytest.raises(jsonschema.ValidationError, match="securityContexts"):
        check(job)
