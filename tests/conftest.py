"""Settings that hold for every test, and data that several stages read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from promethios.user_friendly_governance_training_generator import main as generate

# The same examples at every run, and no time limit that a busy machine could break.
settings.register_profile("promethios", deadline=None, derandomize=True)
settings.load_profile("promethios")


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real dataset of 300 training examples, written by the real command in under a second."""
    folder = tmp_path_factory.mktemp("data") / "governance"
    assert generate(["--output_dir", str(folder), "--num_examples", "300"]) == 0
    return folder
