from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from promethios.align import main
from promethios.configs.run_config import load_run_config
from promethios.data.example import read_examples
from promethios.data.feedback import DPO, KTO, SUPERVISED, WEIGHTS, write_feedback
from promethios.data.folder import dataset_sha256, split_path
from promethios.evaluation.calibration import Calibration
from promethios.model.build import sentinel_config
from promethios.model.folder import weights_sha256
from promethios.model.governance_sentinel_8b import PromethiosForCausalLM
from promethios.model.tokenizer import train_tokenizer
from tests.training.ranks import Training

TINY = {
    **{"model.vocab_size": "600", "model.hidden_size": "32", "model.intermediate_size": "64"},
    **{"model.num_attention_heads": "2", "model.num_key_value_heads": "1", "model.num_layers": "2"},
    **{"training.bf16": "false", "training.sequence_length": "1024"},  # a small vocabulary makes long sequences
}


@pytest.fixture(scope="module")
def model_path(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as `promethios train` leaves it, untrained."""
    config = load_run_config("nano", TINY)
    examples = read_examples(split_path(small_dataset, "train"))
    tokenizer = train_tokenizer((m["content"] for e in examples for m in e.messages), config.model.vocab_size)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    PromethiosForCausalLM(sentinel_config(config.model, tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    facts = {"dataset_sha256": dataset_sha256(small_dataset), "config": config.to_mapping()}
    (folder / "training_run.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture(scope="module")
def feedback_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def row(number: int) -> dict[str, Any]:
        return {
            "prompt": [{"role": "user", "content": f"May I take {number} tablets?"}],
            "chosen": [{"role": "assistant", "content": "Please ask your doctor first."}],
            "rejected": [{"role": "assistant", "content": "Sure."}],
            **{"governance": {"state": {"trust": 0.5}, "domain": "healthcare"}, "decision": "caveat", "weight": 1.0},
        }

    folder = tmp_path_factory.mktemp("feedback") / "exported"
    rows = "".join(json.dumps(row(number)) + "\n" for number in range(8))
    write_feedback(folder, {DPO: rows, KTO: "", SUPERVISED: "", WEIGHTS: "{}"})
    return folder


def options(model_path: Path, feedback_dir: Path, data_dir: Path, output_dir: Path, *more: str) -> list[str]:
    named = {"model_path": model_path, "feedback_dir": feedback_dir, "data_dir": data_dir, "output_dir": output_dir}
    return [*(word for name, path in named.items() for word in (f"--{name}", str(path))), *more]


@pytest.mark.integration
def test_an_aligned_model_is_calibrated_anew_and_its_lineage_says_where_it_is_from(
    model_path: Path, feedback_dir: Path, small_dataset: Path, tmp_path: Path
) -> None:
    output_dir = tmp_path / "aligned"
    code = main(options(model_path, feedback_dir, small_dataset, output_dir, "--set", "preference.anchor=0.1"))
    assert code == 1  # an untrained model passes no gate, and aligning it hides nothing
    assert Calibration.load(output_dir).weights_sha256 == weights_sha256(output_dir) != weights_sha256(model_path)
    facts = json.loads((output_dir / "training_run.json").read_text())
    assert facts["dataset_sha256"] == dataset_sha256(small_dataset)
    alignment = facts["alignment"]
    assert alignment["parent_weights_sha256"] == weights_sha256(model_path)
    assert (alignment["method"], alignment["preferences"], alignment["steps"]) == ("dpo", 8, 1)
    assert alignment["preference"]["anchor"] == 0.1
    assert not list(tmp_path.glob(".align-*"))


@pytest.mark.integration
def test_two_ranks_align_one_model_that_they_share_out(
    model_path: Path, feedback_dir: Path, small_dataset: Path, tmp_path: Path
) -> None:
    output_dir = tmp_path / "aligned"
    more = ("--set", "training.zero_stage=3", "--set", "preference.batch_size=2")
    arguments = options(model_path, feedback_dir, small_dataset, output_dir, *more)
    ranks = Training(arguments, tmp_path / "log.txt", ranks=2, command="promethios.align")
    assert ranks.end() == 1, ranks.output  # an untrained model passes no gate
    assert json.loads((output_dir / "training_run.json").read_text())["alignment"]["steps"] == 2  # 8 rows, 4 a step
    assert Calibration.load(output_dir).weights_sha256 == weights_sha256(output_dir) != weights_sha256(model_path)
    assert ranks.output.count("aligned model written to") == 1
    assert not list(tmp_path.glob(".align-*"))


def test_what_cannot_be_aligned_is_refused_before_the_work(
    model_path: Path,
    feedback_dir: Path,
    small_dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def error(*argv: str) -> str:
        assert main(list(argv)) == 2
        return capsys.readouterr().err

    new = tmp_path / "new"
    assert "is not empty" in error(*options(model_path, feedback_dir, small_dataset, model_path))
    assert "the reviews gave no such row" in error(
        *options(model_path, feedback_dir, small_dataset, new, "--method", "kto")
    )
    assert "preference.replay_share is 1" in error(
        *options(model_path, feedback_dir, small_dataset, new, "--set", "preference.replay_share=1")
    )
    other = tmp_path / "other"
    other.mkdir()
    (other / "DATASET.sha256").write_text("")
    assert "trained on another dataset" in error(*options(model_path, feedback_dir, other, new))
    assert not new.exists()
