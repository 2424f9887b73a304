from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from promethios.configs.run_config import load_run_config
from promethios.evaluation.calibration import Calibration, calibration_sha256
from promethios.evaluation.certificate import Certificate
from promethios.explain import main
from promethios.model.build import sentinel_config
from promethios.model.folder import weights_sha256
from promethios.model.principles import principle_token_ids
from promethios.model.tokenizer import train_tokenizer
from promethios.ontology.governance_ontology import load_ontology
from promethios.training.new_model import new_model

FRESH = "trust=0.9,verify=0.9,attest=0.9,bound=0.9"


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with open gates, whose heads say: escalate with log-odds 0 before calibration."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer((p.sentence for p in load_ontology().principles.values()), 600)
    torch.manual_seed(0)
    config = sentinel_config(load_run_config("nano", {"model.vocab_size": "600"}).model, tokenizer)
    model = new_model(config, {"zero_optimization": {"stage": 0}}, principle_token_ids(tokenizer))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gate"):
                parameter.fill_(0.5)
        model.governance_heads.bias[3] = torch.tensor(3.0).log()  # escalate as likely as the other three together
        model.governance_heads.bias[5] = 2.0  # unknown answer
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    calibration = Calibration(
        weights_sha256=weights_sha256(folder),
        dataset_sha256="d" * 64,
        num_examples=100,
        slope=1.0,
        intercept=0.0,
        domain_intercepts={},
        thresholds={"healthcare": 0.6},
        default_threshold=0.4,
    )
    calibration.save(folder)
    Certificate(
        weights_sha256=calibration.weights_sha256,
        calibration_sha256=calibration_sha256(folder),
        dataset_sha256="d" * 64,
        confidence=0.95,
        domains={},
        default_threshold=0.55,
    ).save(folder)
    return folder


def explain(capsys: pytest.CaptureFixture[str], model_path: Path, *words: str) -> str:
    code = main(["--model_path", str(model_path), *words])
    output = capsys.readouterr()
    assert code == 0, output.err
    return output.out


def numbers(capsys: pytest.CaptureFixture[str], model_path: Path, *words: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(explain(capsys, model_path, "--json", *words))
    return loaded


def test_the_decision_compares_the_calibrated_probability_with_the_threshold_that_serving_applies(
    capsys: pytest.CaptureFixture[str], model_path: Path
) -> None:
    request = ["--prompt", "May I?", "--governance", FRESH]
    unstated = numbers(capsys, model_path, *request)
    assert unstated["probability"] == pytest.approx(0.5, abs=1e-4)
    assert (unstated["threshold"], unstated["decision"]) == (0.4, "escalate")  # of cost, below the certified one
    healthcare = numbers(capsys, model_path, *request, "--domain", "healthcare")
    assert (healthcare["threshold"], healthcare["decision"]) == (0.55, "answer")  # certified, below the one of cost


def test_missing_telemetry_halves_the_threshold_and_says_so(
    capsys: pytest.CaptureFixture[str], model_path: Path
) -> None:
    request = ["--prompt", "May I?", "--domain", "healthcare"]
    assert numbers(capsys, model_path, *request)["threshold"] == pytest.approx(0.275)
    assert "the threshold 0.28 (halved: telemetry is missing or stale)" in explain(capsys, model_path, *request)


def test_the_text_names_dimensions_and_principles_and_what_attention_is_not(
    capsys: pytest.CaptureFixture[str], model_path: Path
) -> None:
    text = explain(capsys, model_path, "--prompt", "May I?", "--governance", "<gov:trust=0.3>")
    assert "uncertainty  0.88 Unknown answer" in text
    anchors = [line for line in text.splitlines() if line.startswith("principles after layer")]
    assert len(anchors) == 3 and all("gate +0.462" in line for line in anchors)
    fired = [line for line in text.splitlines() if line.startswith("  0.")]
    assert len(fired) == 9
    assert "an attribution, not a proof" in text


def test_the_numbers_hold_every_slot_of_every_anchor(capsys: pytest.CaptureFixture[str], model_path: Path) -> None:
    report = numbers(capsys, model_path, "--prompt", "May I?")
    assert [anchor["layer"] for anchor in report["anchors"]] == [1, 3, 4]
    for anchor in report["anchors"]:
        assert {slot["principle"] for slot in anchor["principles"]} == {*load_ontology().principles, None}
        assert len(anchor["principles"]) == 24
    assert sum(report["probabilities"].values()) == pytest.approx(1.0)
    assert len(report["uncertainty"]) == len(report["bias"]) == 6


def test_a_conversation_comes_from_a_file(capsys: pytest.CaptureFixture[str], model_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "chat.json"
    path.write_text(json.dumps([{"role": "user", "content": "May I?"}]))
    request = ["--governance", FRESH]
    from_file = explain(capsys, model_path, "--messages", str(path), *request)
    assert from_file == explain(capsys, model_path, "--prompt", "May I?", *request)


@pytest.mark.parametrize("content", ["{", "[]", '{"role": "user"}', '[{"role": "user"}]'])
def test_a_bad_conversation_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], model_path: Path, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "chat.json"
    path.write_text(content)
    assert main(["--model_path", str(model_path), "--messages", str(path)]) == 2
    error = capsys.readouterr().err
    assert f"--messages {path}: " in error and error.count("\n") == 1


def test_a_model_that_was_not_evaluated_says_what_to_do(
    capsys: pytest.CaptureFixture[str], model_path: Path, tmp_path: Path
) -> None:
    for path in model_path.iterdir():
        if not path.name.startswith("governance_"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    assert main(["--model_path", str(tmp_path), "--prompt", "May I?"]) == 2
    assert "promethios evaluate" in capsys.readouterr().err
