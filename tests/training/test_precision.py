from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from promethios.checkpoint.manifest import MANIFEST
from promethios.configs.run_config import load_run_config
from promethios.training import precision
from promethios.training.precision import computes_in_bf16, in_format_of, in_usable_format
from promethios.training.stages import StageRun, stage_runs


def the_stage(tmp_path: Path, bf16: str = "true") -> StageRun:
    return stage_runs(load_run_config("nano", {"training.bf16": bf16}), tmp_path)[0]


@pytest.mark.parametrize("is_fast", [True, False])
def test_bf16_is_kept_only_where_the_processor_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_fast: bool
) -> None:
    monkeypatch.setattr(precision, "computes_in_bf16", lambda: is_fast)
    said: list[str] = []
    assert in_usable_format(the_stage(tmp_path), said.append).training.bf16 is is_fast
    assert bool(said) is not is_fast, "what is not done as configured is said"


def test_fp32_stays_fp32_and_nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(precision, "computes_in_bf16", lambda: False)
    said: list[str] = []
    assert in_usable_format(the_stage(tmp_path, "false"), said.append).training.bf16 is False
    assert not said


@pytest.mark.parametrize(("recorded", "bf16"), [({"bf16": False}, False), ({"bf16": True}, True), ({}, True)])
def test_a_run_goes_on_in_the_format_of_its_checkpoint(tmp_path: Path, recorded: dict[str, bool], bf16: bool) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps({"files": {}, **recorded}))
    assert in_format_of(the_stage(tmp_path), tmp_path).training.bf16 is bf16


def test_a_gpu_computes_in_bf16_and_a_cpu_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert computes_in_bf16()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not computes_in_bf16()
