"""A small dataset, generated once, and larger samples of the world behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from promethios.data.example import Example, read_examples
from promethios.data.folder import SPLITS, split_path, write_dataset
from promethios.data.generate import open_split
from promethios.data.mixture import Candidates, Split
from promethios.ontology.governance_ontology import Ontology, load_ontology
from promethios.user_friendly_governance_training_generator import dataset_contents

SIZES = {"train": 2000, "validation": 500, "calibration": 500, "test": 500, "test_held_out_domains": 500}


@pytest.fixture(scope="session")
def ontology() -> Ontology:
    return load_ontology()


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    write_dataset(folder, dataset_contents(0, SIZES))
    return folder


@pytest.fixture(scope="session")
def dataset(dataset_folder: Path) -> Mapping[str, list[Example]]:
    return {split: read_examples(split_path(dataset_folder, split)) for split in SPLITS}


@pytest.fixture(scope="session")
def every_example(dataset: Mapping[str, list[Example]]) -> list[Example]:
    return [example for examples in dataset.values() for example in examples]


@pytest.fixture(scope="session")
def fields(dataset_folder: Path) -> dict[str, Any]:
    """One line of the dataset, as plain data to spoil."""
    first_line = split_path(dataset_folder, "train").read_text(encoding="utf-8").split("\n", 1)[0]
    return dict(json.loads(first_line))


@pytest.fixture(scope="session")
def test_split(ontology: Ontology) -> Split:
    return open_split("test", 0, ontology)


@pytest.fixture(scope="session")
def candidates(test_split: Split) -> Candidates:
    """A large sample with the dataset's mixture."""
    return test_split.sample(20_000)
