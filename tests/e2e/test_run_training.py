"""The seed's script, with two gloo ranks and a configuration of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from promethios.configs.run_config import load_run_config

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).parents[2] / "images" / "train" / "run_training.sh"
TINY = {
    **{"model.num_layers": "2", "model.hidden_size": "48", "model.intermediate_size": "96"},
    **{"model.num_attention_heads": "2", "model.num_key_value_heads": "2", "model.vocab_size": "600"},
    **{"training.max_steps": "3", "training.batch_size": "2", "training.sequence_length": "512"},
    **{"training.gradient_checkpointing": "true", "training.zero_stage": "3"},
}


def test_run_training_trains_on_all_ranks_and_evaluates(small_dataset: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(load_run_config("nano", TINY).to_mapping()))
    settings = {"CONFIG": config, "DATA": small_dataset, "OUTPUT": tmp_path / "model", "NPROC": 2}
    environment = {f"PROMETHIOS_{name}": str(value) for name, value in settings.items()}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [SCRIPT, "--set", "training.logging_steps=1"],
        env={**os.environ, **environment, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 1, done.stderr  # evaluate's: three steps hold no gate
    assert "2 rank(s)" in done.stderr
    assert (tmp_path / "model" / "evaluation_report.html").is_file()
