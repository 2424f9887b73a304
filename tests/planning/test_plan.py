"""The command `promethios plan`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from promethios.cli import main
from promethios.planning import units

README = Path(__file__).parents[2] / "promethios" / "planning" / "README.md"
FREE_OF_CONTRADICTIONS = ("plan", "--config", "8b", "--set", "training.save_steps=1")


def keys(value: Any, prefix: str = "") -> set[str]:
    """Return the dotted keys of a JSON document; what a list holds is `[]`."""
    if prefix == "parameters.by_module":
        return {prefix}
    if isinstance(value, dict):
        return set().union(*(keys(each, f"{prefix}.{key}".lstrip(".")) for key, each in value.items()))
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return set().union(*(keys(each, f"{prefix}[]") for each in value))
    return {prefix}


def test_json_has_the_documented_keys_and_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--config", "8b", "--json", "--set", "training.save_steps=1000"]) == 2
    printed = json.loads(capsys.readouterr().out)
    table = README.read_text(encoding="utf-8").partition("## JSON")[2]
    first_column = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert keys(printed) == {key for cell in first_column for key in re.findall(r"`([^`]+)`", cell)}


def test_a_contradiction_is_one_line_on_stderr_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--config", "8b", "--set", "training.save_steps=1000", "--grace_period_seconds", "5"]) == 2
    said = capsys.readouterr()
    assert said.out.startswith("8b on 8xa100-40gb\n")
    assert [line.split()[:2] for line in said.err.splitlines()] == [
        ["error:", "training.save_steps"],
        ["error:", "--grace_period_seconds"],
    ]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--set", "training.sequence_length=4096"],
            "training.sequence_length 4096 is longer than model.context_length",
        ),
        (["--set", "training.fp16=true"], "choose one (bf16 on A100 and later)"),
        (["--set", "training.effective_batch_size=0"], "training.effective_batch_size is 0, it must be above 0"),
        (["--set", "training.save_steps"], "give section.key=value"),
        (["--node", "8xa100"], "unknown accelerator 'a100'"),
        (["--storage_rate", "0"], "--storage_rate 0: must be above 0"),
        (["--price_per_hour", "nan"], "--price_per_hour nan: must be above 0"),
        (["--data_dir", "nowhere"], "no such file"),
    ],
)
def test_what_cannot_be_planned_is_one_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--config", "8b", *argv]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert message in said.err


def test_a_dataset_is_counted(small_dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", "--config", "nano", "--node", "cpu", "--set", "training.save_steps=10"]
    assert main([*arguments, "--data_dir", str(small_dataset)]) == 0
    assert f"counted in {small_dataset}" in capsys.readouterr().out


def test_neither_torch_nor_another_heavy_package_is_imported(tmp_path: Path) -> None:
    code = f"""
import sys
from promethios.cli import main
assert main({list(FREE_OF_CONTRADICTIONS)!r}) == 0
heavy = {{"torch", "transformers", "deepspeed", "tokenizers", "safetensors", "accelerate", "sklearn", "vllm"}}
sys.exit(", ".join(sorted(heavy & set(sys.modules))) or 0)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (units.count(8_069_000_000), "8.07 B"),
        (units.count(120), "120"),
        (units.size(112.99e9), "112.99 GB"),
        (units.size(500), "500 B"),
        (units.duration(0.42), "0.4 s"),
        (units.duration(113.2), "113 s"),
        (units.duration(1500), "25 min"),
        (units.duration(20_000), "5.6 h"),
    ],
)
def test_numbers_are_said_as_people_say_them(said: str, expected: str) -> None:
    assert said == expected
