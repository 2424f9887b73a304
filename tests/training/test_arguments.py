from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from promethios.configs.run_config import load_run_config
from promethios.errors import ConfigError
from promethios.training.arguments import training_arguments
from promethios.training.deepspeed_config import deepspeed_config


def test_fp16_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    training = dataclasses.replace(load_run_config("nano").training, bf16=False, fp16=True)
    with pytest.raises(ConfigError, match=r"training\.fp16 needs a GPU"):
        training_arguments(training, tmp_path)


def test_the_8b_preset_shards_everything_and_gathers_whole_weights_at_a_save() -> None:
    config = deepspeed_config(load_run_config("8b").training)
    assert config["bf16"] == {"enabled": True} and "fp16" not in config
    assert config["zero_optimization"]["stage"] == 3
    assert config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True


def test_fp16_scales_its_loss_dynamically() -> None:
    training = dataclasses.replace(load_run_config("8b").training, bf16=False, fp16=True)
    assert deepspeed_config(training)["fp16"]["loss_scale"] == 0
