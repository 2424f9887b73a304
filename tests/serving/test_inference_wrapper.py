"""What ends the server's start, before the engine has generated anything."""

from __future__ import annotations

import asyncio
import json
import shutil
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.datastructures import State

from promethios.errors import ModelFolderError
from promethios.evaluation.calibration import calibration_sha256
from promethios.evaluation.certificate import certificate_sha256
from promethios.evaluation.lineage import LINEAGE
from promethios.model.folder import weights_sha256
from promethios_serving.promethios_governance_inference_wrapper import InferenceWrapper

pytest.importorskip("torch")
from promethios.model.configuration import PromethiosConfig


class EngineReached(Exception):
    """The start went as far as to use the engine."""


class Engine:
    """An engine client that knows its model and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.model_config = SimpleNamespace(hf_config=PromethiosConfig.from_pretrained(folder), max_model_len=64)

    @property
    def generate(self) -> None:
        raise EngineReached


@pytest.fixture
def exported(nano_folder: Path, tmp_path: Path) -> Path:
    """A copy of the model folder with its lineage."""
    folder = tmp_path / "model"
    shutil.copytree(nano_folder, folder)
    own = {
        "weights_sha256": weights_sha256(folder),
        "calibration_sha256": calibration_sha256(folder),
        "certificate_sha256": certificate_sha256(folder),
    }
    (folder / LINEAGE).write_text(json.dumps(own), encoding="utf-8")
    return folder


def start(folder: Path) -> None:
    args = Namespace(model=str(folder), served_model_name=None, host=None, port=8000)
    asyncio.run(InferenceWrapper().init_state(Engine(folder), State(), args))


@pytest.mark.parametrize("key", ["weights_sha256", "calibration_sha256", "certificate_sha256"])
def test_a_lineage_of_other_weights_ends_the_start(exported: Path, key: str) -> None:
    lineage = json.loads((exported / LINEAGE).read_text(encoding="utf-8"))
    (exported / LINEAGE).write_text(json.dumps({**lineage, key: "f" * 64}), encoding="utf-8")
    with pytest.raises(
        ModelFolderError, match=rf"lineage.json: {key} is ffffffffffff, the folder holds {lineage[key][:12]}"
    ):
        start(exported)


@pytest.mark.integration
def test_a_lineage_of_its_own_weights_does_not(exported: Path) -> None:
    pytest.importorskip("vllm")
    with pytest.raises(EngineReached):
        start(exported)
