"""What a user can set or see is documented, and what is documented exists."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from promethios.cli import VERBS, build_parser, option_strings
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.state import CHANNELS

ROOT = Path(__file__).parents[2]
COMMANDS = (ROOT / "promethios" / "README.md").read_text(encoding="utf-8")
SERVING_FOLDER = ROOT / "serving" / "promethios_serving"
SERVING = ROOT / "serving" / "README.md"
HUB_FOLDER = ROOT / "serving" / "promethios_hub"
TRAINING_FOLDER = ROOT / "promethios" / "training"
ALL_READMES = [ROOT / "README.md", *(ROOT / "promethios").rglob("README.md"), *(ROOT / "serving").rglob("README.md")]
METRIC_KINDS = {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"}
SETTING = re.compile(r"\bPROMETHIOS_[A-Z][A-Z_]*[A-Z]\b")


def section(document: str, heading: str) -> str:
    """Return what stands under a heading of the second level."""
    match = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", document, re.MULTILINE | re.DOTALL)
    assert match, f"no heading `## {heading}`"
    return match.group(1)


def options_of(verb: str) -> set[str]:
    module = importlib.import_module(f"promethios.{VERBS[verb].module}")
    return set(option_strings(build_parser(module.add_arguments))) - {"-h", "--help"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_a_verb_stands_under_its_heading_and_nothing_else(verb: str) -> None:
    text = section(COMMANDS, f"promethios {verb}")
    documented = set(re.findall(r"^\| `(--?\w+)", text, re.MULTILINE))
    assert documented == options_of(verb)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_described_in_the_words_of_its_help(verb: str) -> None:
    assert VERBS[verb].summary.lower() in section(COMMANDS, f"promethios {verb}").lower()


def metric_names(module: Path) -> set[str]:
    """Return the names of a module's metric objects, without importing it."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    kinds = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in METRIC_KINDS]
    return {call.args[0].value for call in kinds if isinstance(call.args[0], ast.Constant)}


@pytest.mark.parametrize(
    ("module", "document"),
    [
        (SERVING_FOLDER / "metrics.py", SERVING),
        (HUB_FOLDER / "metrics.py", HUB_FOLDER / "README.md"),
        (TRAINING_FOLDER / "metrics.py", TRAINING_FOLDER / "README.md"),
    ],
    ids=["serving", "hub", "training"],
)
def test_every_metric_is_documented_and_every_documented_one_exists(module: Path, document: Path) -> None:
    documented = set(re.findall(r"^\| `(promethios_\w+)", document.read_text(encoding="utf-8"), re.MULTILINE))
    assert metric_names(module)
    assert documented == metric_names(module)


def settings_fields() -> set[str]:
    """Return the environment variables of the serving half: PROMETHIOS_<FIELD> for each field of Settings."""
    tree = ast.parse((SERVING_FOLDER / "settings.py").read_text(encoding="utf-8"))
    settings = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings")
    fields = [node.target for node in settings.body if isinstance(node, ast.AnnAssign)]
    return {f"PROMETHIOS_{field.id.upper()}" for field in fields if isinstance(field, ast.Name)}


def test_every_setting_is_documented_and_every_documented_one_exists() -> None:
    documented = set(re.findall(r"^\| `(PROMETHIOS_\w+)", SERVING.read_text(encoding="utf-8"), re.MULTILINE))
    assert settings_fields()
    assert documented == settings_fields()


def test_every_environment_variable_that_the_code_names_is_documented() -> None:
    documents = "\n".join(path.read_text(encoding="utf-8") for path in ALL_READMES)
    sources = [path for folder in ("promethios", "serving", "images") for path in (ROOT / folder).rglob("*")]
    named = {
        name
        for path in sources
        if path.suffix in {".py", ".sh", ".yaml"}
        for name in SETTING.findall(path.read_text(encoding="utf-8"))
    }
    assert {name for name in named if name not in documents} == set()


def test_every_domain_and_channel_is_documented() -> None:
    for name in (*load_ontology().domains, *(channel.name for channel in CHANNELS)):
        assert f"`{name}`" in COMMANDS, name
