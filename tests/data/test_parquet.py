"""The dataset as other people's tools see it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from promethios.data import parquet
from promethios.data.example import Example, read_examples
from promethios.data.folder import CARD, SPLITS, TWINS, verify_dataset
from promethios.user_friendly_governance_training_generator import main as generate

datasets = pytest.importorskip("datasets")


@pytest.fixture(scope="module")
def loaded(dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, object]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        patch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
        return dict(datasets.load_dataset(str(dataset_folder), cache_dir=str(tmp_path_factory.mktemp("cache"))))


@pytest.mark.parametrize("split", SPLITS)
def test_datasets_loads_every_split_from_disk(
    loaded: Mapping[str, list[dict[str, object]]], dataset: Mapping[str, list[Example]], split: str
) -> None:
    rows, examples = loaded[split], dataset[split]
    assert len(rows) == len(examples)
    for index in range(0, len(examples), 97):
        assert rows[index] == examples[index].to_mapping()


def test_there_are_requests_without_telemetry_and_with_missing_channels(
    loaded: Mapping[str, list[dict[str, dict[str, dict[str, object]]]]],
) -> None:
    states = [row["governance"]["state"] for row in loaded["validation"]]
    assert None in states
    assert any(state is not None and state["trust"] is None for state in states)


def test_without_pyarrow_the_lines_are_written_and_the_card_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parquet, "find_spec", lambda name: None)
    folder = tmp_path / "dataset"
    assert generate(["--output_dir", str(folder), "--num_examples", "100"]) == 0
    assert "parquet/: not written, pyarrow is not installed" in capsys.readouterr().out
    assert not [name for name in TWINS if (folder / name).exists()]
    card = (folder / CARD).read_text(encoding="utf-8")
    assert "path: train.jsonl" in card
    assert "parquet" not in card
    verify_dataset(folder)
    assert len(read_examples(folder / "train.jsonl")) == 100
