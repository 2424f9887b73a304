"""The base install has no torch: generating data and reading telemetry work without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "deepspeed", "vllm", "sklearn", "openai")
SERVING = Path(__file__).parents[2] / "serving"
LIGHT_SERVING = ("access", "audit", "reviews", "telemetry", "wrapped")
# None in sys.modules makes an import fail as if the package were not installed.
WITHOUT_HEAVY = f"""
import sys
sys.modules.update(dict.fromkeys({HEAVY}))
from promethios.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run_without_heavy_packages(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_HEAVY, *argv], capture_output=True, text=True, timeout=120, check=False, cwd=cwd
    )


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        ["generate", "--help"],
        ["feedback", "--help"],
        ["tags", "<gov:trust=0.72><gov:emotion=FOCUSED>", "--domain", "healthcare"],
    ],
    ids=" ".join,
)
def test_a_base_command_runs_without_the_heavy_packages(argv: list[str], tmp_path: Path) -> None:
    result = run_without_heavy_packages(*argv, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_a_small_dataset_is_generated_without_the_heavy_packages(tmp_path: Path) -> None:
    result = run_without_heavy_packages("generate", "--output_dir", "data", "--num_examples", "100", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert len((tmp_path / "data" / "train.jsonl").read_text(encoding="utf-8").splitlines()) == 100


def test_hub_and_wrapped_mode_are_imported_without_the_heavy_packages(tmp_path: Path) -> None:
    folders = [SERVING / "promethios_hub", *(SERVING / "promethios_serving" / name for name in LIGHT_SERVING)]
    modules = [
        ".".join(path.relative_to(SERVING).with_suffix("").parts)
        for folder in folders
        for path in sorted(folder.rglob("*.py"))
        if not {"__main__", "env", "versions"} & set(path.relative_to(SERVING).with_suffix("").parts)
    ]
    code = WITHOUT_HEAVY.split("from promethios.cli")[0] + f"for name in {modules}: __import__(name)\n"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_a_verb_that_needs_an_extra_names_it(tmp_path: Path) -> None:
    code = WITHOUT_HEAVY.replace(
        "from promethios.cli import main", "from promethios.cli import main, run_command"
    ).replace(
        "sys.exit(main(sys.argv[1:]))",
        "sys.exit(run_command(lambda parser: None, lambda args: __import__('torch'), []))",
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == "error: torch is not installed; install promethios with its extra train\n"
