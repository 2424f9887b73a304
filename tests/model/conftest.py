from __future__ import annotations

import dataclasses

import pytest

from promethios.configs.run_config import ModelSection, load_run_config


@pytest.fixture(scope="session")
def tiny_section() -> ModelSection:
    """The nano preset, shrunk: every kind of module, milliseconds to run."""
    return dataclasses.replace(
        load_run_config("nano").model,
        vocab_size=600,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        anchor_size=16,
        anchor_heads=2,
        num_principles=7,
        veritas_rank=8,
        tool_rank=8,
    )
