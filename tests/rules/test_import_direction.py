"""Imports follow the data, one way: a stage imports itself and earlier stages; verbs wire them; serving comes last."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from promethios.cli import VERBS

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "promethios": ROOT / "promethios",
    "promethios_serving": ROOT / "serving" / "promethios_serving",
    "promethios_hub": ROOT / "serving" / "promethios_hub",
}
STAGES = (
    *("telemetry", "ontology", "configs", "data", "planning"),
    *("model", "checkpoint", "training", "evaluation", "cluster"),
)
FOUNDATION = {"errors", "strict_yaml"}
VERB_MODULES = {verb.module for verb in VERBS.values()} | {"training_attempt"}
"""The last one is a command, too; a pod types it, not a person."""
FOR_VERBS = {"cli"}
SHARED_WITH_HUB = {"access", "json_log", "openai_errors", "request_body"}
"""What of the engine's wrapper the hub uses as well: callers, how refusals and the log look, limits of bodies."""


def modules() -> Iterator[tuple[str, Path]]:
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = (package, *path.relative_to(folder).with_suffix("").parts)
            yield ".".join(part for part in parts if part != "__init__"), path


def is_module(name: str) -> bool:
    package, *rest = name.split(".")
    path = PACKAGES[package].joinpath(*rest)
    return path.is_dir() or path.with_suffix(".py").is_file()


def imported_by(source: str) -> set[str]:
    """Return the modules of ours that a source imports, wherever the import stands in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction; write the whole name"
            assert node.module is not None
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            ours = node.module.split(".")[0] in PACKAGES
            found |= {name if ours and is_module(name) else node.module for name in names}
    return {name for name in found if name.split(".")[0] in PACKAGES}


def may_import(importer: str, imported: str) -> bool:
    from_package, from_part = (*importer.split("."), "")[:2]
    to_package, to_part = (*imported.split("."), "")[:2]
    if from_package == "promethios_hub" and to_package == "promethios_serving":
        return to_part in SHARED_WITH_HUB
    if from_package != "promethios":
        return to_package == from_package or (to_package == "promethios" and to_part in {*STAGES, *FOUNDATION, ""})
    if to_package != "promethios":
        return False
    if from_part in FOUNDATION | {""}:
        return False
    if from_part in FOR_VERBS:
        return to_part in FOUNDATION | {""}
    if from_part in VERB_MODULES:
        return to_part in {*STAGES, *FOUNDATION, *FOR_VERBS, ""}
    if to_part in FOUNDATION | {""}:
        return True
    return to_part in STAGES[: STAGES.index(from_part) + 1]


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_a_module_imports_only_what_comes_before_it(name: str, path: Path) -> None:
    wrong = [imported for imported in imported_by(path.read_text(encoding="utf-8")) if not may_import(name, imported)]
    assert not wrong, f"{name} imports {', '.join(sorted(wrong))}; allowed order: {' -> '.join(STAGES)}"


def test_every_folder_and_root_module_has_a_place_in_the_order() -> None:
    parts = {name.split(".")[1] for name, _ in modules() if name.startswith("promethios.")}
    assert parts <= {*STAGES, *FOUNDATION, *VERB_MODULES, *FOR_VERBS}


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("promethios.telemetry.tags", "from promethios.ontology import decision"),
        ("promethios.data.example", "def f():\n    from promethios.model.folder import weights_sha256"),
        ("promethios.evaluation.gates", "import promethios_serving"),
        ("promethios.serve", "from promethios_serving import settings"),
        ("promethios.ontology.decision", "from promethios import cli"),
        ("promethios.tags", "from promethios import ask"),
        ("promethios.errors", "import promethios.telemetry.state"),
        ("promethios_serving.plugin", "from promethios.tags import describe"),
        ("promethios_serving.plugin", "import promethios_hub.app"),
        ("promethios_hub.app", "from promethios_serving.governor import Governor"),
        ("promethios_hub.app", "from promethios.serve import run"),
    ],
)
def test_the_rule_finds_an_import_against_the_direction(importer: str, source: str) -> None:
    assert [imported for imported in imported_by(source) if not may_import(importer, imported)]
