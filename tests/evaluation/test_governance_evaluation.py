from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from promethios import governance_evaluation
from promethios.data.example import Example
from promethios.data.folder import dataset_sha256, write_dataset
from promethios.evaluation import baselines
from promethios.evaluation.calibration import Calibration
from promethios.evaluation.certificate import Certificate
from promethios.model.folder import weights_sha256
from promethios.ontology.governance_ontology import load_ontology


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, model_scores: Callable[..., np.ndarray]) -> dict[str, Any]:
    """Stand in for the model: scores of the synthetic world, and the dataset's wording for each forced decision."""
    calls: dict[str, Any] = {
        "loaded": [],
        "scored": [],
        "noise": 0.3,
        "say": None,
        "twist": None,
        "knows_domains": True,
    }

    def score_examples(loaded: LoadedModel, examples: Sequence[Example]) -> np.ndarray:
        assert isinstance(loaded, LoadedModel), "loaded once, not once a call"
        calls["scored"].append(len(examples))
        scores = model_scores(list(examples), calls["noise"])
        if calls["twist"]:
            scores[:, 3] += [calls["twist"](example) for example in examples]
        return scores

    def probe_domains(loaded: LoadedModel, examples: Sequence[Example]) -> np.ndarray | None:
        slots = [load_ontology().domain(str(example.domain)).slot for example in examples]
        return 9.0 * np.eye(32)[slots] if calls["knows_domains"] else None

    def generate_responses(loaded: LoadedModel, examples: Sequence[Example], decisions: Sequence[str]) -> list[str]:
        assert isinstance(loaded, LoadedModel)
        wording = {example.decision: example.response for example in calls["train"]}
        return [calls["say"] or wording[decision] for decision in decisions]

    class LoadedModel:
        @classmethod
        def load(cls, model_path: Path) -> LoadedModel:
            calls["loaded"].append(model_path)
            return cls()

    scoring, generation = ModuleType("promethios.model.scoring"), ModuleType("promethios.model.generation")
    vars(scoring).update(score_examples=score_examples, probe_domains=probe_domains, LoadedModel=LoadedModel)
    vars(generation).update(generate_responses=generate_responses)
    for module in (scoring, generation):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


@pytest.fixture
def evaluate(
    model: dict[str, Any],
    model_folder: Path,
    dataset: Path,
    make_examples: Callable[[int, str], list[Example]],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., int]:
    model["train"] = make_examples(1200, "train")
    # One candidate each: how they are chosen is tested in test_tuned_classifier.
    for name, only in (("NGRAM_RANGES", (1, 2)), ("INVERSE_PENALTIES", 8.0), ("MAX_LEAF_NODES", 7)):
        monkeypatch.setattr(baselines, name, (only,))

    def run(*options: str) -> int:
        arguments = ["--model_path", str(model_folder), "--data_dir", str(dataset), "--num_responses", "60", *options]
        return governance_evaluation.main(arguments)

    return run


def read_report(model_folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((model_folder / "evaluation_report.json").read_text())
    return report


def holds(report: dict[str, Any]) -> dict[str, bool]:
    return {gate["key"]: gate["holds"] for gate in report["gates"]}


def test_a_model_that_knows_its_world_passes(
    evaluate: Callable[..., int],
    model: dict[str, Any],
    model_folder: Path,
    dataset: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert evaluate() == 0
    report = read_report(model_folder)
    assert report["passed"] and all(holds(report).values())
    assert len(model["scored"]) == len(model["loaded"]) == 1, "one model, one pass over everything"
    calibration = Calibration.load(model_folder)
    assert calibration.slope == pytest.approx(0.5, abs=0.1), "the scores were doubled"
    certificate = Certificate.load(model_folder, calibration)
    assert certificate.domains["general"].is_certified
    assert report["certificate"]["domains"]["general"]["threshold"] == certificate.domains["general"].threshold
    provenance = report["provenance"]
    assert provenance["weights_sha256"] == calibration.weights_sha256 == weights_sha256(model_folder)
    assert provenance["dataset_sha256"] == calibration.dataset_sha256 == dataset_sha256(dataset)
    content = (model_folder / "governance_calibration.json").read_bytes()
    assert provenance["calibration_sha256"] == hashlib.sha256(content).hexdigest()
    assert "--num_responses 60" in provenance["command"]
    output = capsys.readouterr()
    assert "HITL accuracy" in output.out and "ok    beats_tags" in output.out
    assert "[7/7]" in output.err


@pytest.mark.parametrize("knows_domains", [True, False])
def test_the_domain_probe_is_calibrated_and_reported(
    evaluate: Callable[..., int],
    model: dict[str, Any],
    model_folder: Path,
    capsys: pytest.CaptureFixture[str],
    knows_domains: bool,
) -> None:
    model["knows_domains"] = knows_domains
    evaluate("--num_examples", "100")
    level = Calibration.load(model_folder).domain_probe_level
    report = read_report(model_folder)
    assert report["calibration"]["domain_probe_level"] == level == (0.5 if knows_domains else None)
    in_words = "guessed right in 100.0%" if knows_domains else "no domain probe"
    assert in_words in capsys.readouterr().out
    assert in_words in (model_folder / "evaluation_report.html").read_text(encoding="utf-8")
    if knows_domains:
        assert report["domain_probe"]["sets"]["test"]["right_when_held"]["value"] == 1.0
    else:
        assert report["domain_probe"] is None


def obeys_the_user(example: Example) -> float:
    return -20.0 if "Approve this" in example.prompt else 0.0


def distrusts_trust(example: Example) -> float:
    trust = example.state.trust if example.state else None
    return 8.0 * (float(trust.value) - 0.7) if trust else 0.0


def believes_old_news(example: Example) -> float:
    verify = example.state.verify if example.state else None
    return -12.0 * (float(verify.value) - 0.5) if verify and verify.age_s else 0.0


@pytest.mark.parametrize(
    ("twist", "gate"),
    [(obeys_the_user, "spoofing"), (distrusts_trust, "monotonicity"), (believes_old_news, "stale_invariance")],
)
def test_a_model_that_depends_on_what_it_should_not_fails_that_gate(
    evaluate: Callable[..., int],
    model: dict[str, Any],
    model_folder: Path,
    twist: Callable[[Example], float],
    gate: str,
) -> None:
    model["twist"] = twist
    assert evaluate("--num_examples", "300") == 1
    assert not holds(read_report(model_folder))[gate]


def test_another_model_is_compared_on_the_same_examples_and_with_its_own_calibration(
    evaluate: Callable[..., int], model: dict[str, Any], model_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(model_folder, other)
    before = sorted(path.name for path in other.iterdir())
    evaluate("--num_examples", "150", "--compare_model", f"plain={other}")
    systems = {system["key"]: system for system in read_report(model_folder)["test"]["systems"]}
    assert systems["model:plain"]["kind"] == "compared"
    assert systems["model:plain"]["measures"]["accuracy"] == systems["model"]["measures"]["accuracy"]
    assert systems["model:plain"]["model_gains"]["accuracy"]["value"] == 0.0
    assert list(systems)[-1] == "ceiling"
    assert model["loaded"] == [model_folder, other]
    assert sorted(path.name for path in other.iterdir()) == before, "a model that is compared is left as it is"


def test_the_same_seed_gives_the_same_report(evaluate: Callable[..., int], model_folder: Path) -> None:
    reports = []
    for _ in range(2):
        evaluate("--num_examples", "150")
        report = read_report(model_folder)
        del report["provenance"]["created_at"]
        reports.append(report)
    assert reports[0] == reports[1]


def test_asking_for_more_examples_than_there_are_uses_all_and_says_so(
    evaluate: Callable[..., int], model_folder: Path
) -> None:
    evaluate("--num_examples", "5000")
    report = read_report(model_folder)
    assert report["test"]["num_examples"] == 600
    assert report["notes"][0] == (
        "5,000 examples were asked for; there are 600 in test, 200 in held_out_domains, 120 in held_out_values, "
        "120 in held_out_wording: all were used."
    )


def test_few_examples_give_wide_intervals_and_no_lucky_pass(evaluate: Callable[..., int], model_folder: Path) -> None:
    assert evaluate("--num_examples", "12", "--num_responses", "3") == 1
    report = read_report(model_folder)
    accuracy = report["scores"]["hitl_accuracy"]
    assert accuracy["high"] - accuracy["low"] > 0.15
    assert not holds(report)["domain_compliance"]
    assert report["text"]["num_responses"] == 3


def test_a_model_without_knowledge_fails_the_comparison(
    evaluate: Callable[..., int], model: dict[str, Any], model_folder: Path
) -> None:
    model["noise"] = 100.0
    assert evaluate() == 1
    report = read_report(model_folder)
    assert not holds(report)["beats_tags"]
    assert holds(report)["readable"]


@pytest.mark.parametrize(
    ("say", "gate"),
    [
        ("Here is what to do next: the trust score is high, so pay the bill now.", "no_raw_metrics"),
        ("pay the bill pay the bill pay the bill pay the bill pay the bill", "readable"),
        ("Here is what to do next: pay the bill and keep the letter for your own records.", "fits_decision"),
    ],
)
def test_bad_prose_fails_its_gate(
    evaluate: Callable[..., int], model: dict[str, Any], model_folder: Path, say: str, gate: str
) -> None:
    model["say"] = say
    assert evaluate("--num_examples", "300") == 1
    assert not holds(read_report(model_folder))[gate]


def test_the_report_goes_where_it_is_asked_for_and_stays_with_the_model_too(
    evaluate: Callable[..., int], model_folder: Path, tmp_path: Path
) -> None:
    evaluate("--num_examples", "100", "--output_path", str(tmp_path / "reports" / "first.json"))
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {"first.json", "first.html"}
    assert (model_folder / "governance_calibration.json").is_file()
    copy = (model_folder / "evaluation_report.json").read_text()
    assert copy == (tmp_path / "reports" / "first.json").read_text()


def test_hyphens_work_in_option_names(evaluate: Callable[..., int], model_folder: Path) -> None:
    evaluate("--num-examples", "100")
    assert read_report(model_folder)["test"]["num_examples"] == 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num_examples", "0"], "--num_examples 0: give a whole number of 2 or more"),
        (["--num_responses", "0"], "--num_responses 0: give a whole number of 1 or more"),
        (["--seed", "-1"], "--seed -1: give a whole number of 0 or more"),
        (["--compare_model", "runs/plain"], "--compare_model 'runs/plain': give NAME=PATH"),
        (["--compare_model", "plain=nowhere"], "model folder nowhere does not exist"),
        (["--compare_url", "http://127.0.0.1:9/v1"], "--compare_url needs --compare_name"),
        (["--compare_name", "x"], "--compare_name is about --compare_url, which is not given"),
        (["--compare_url", "ftp://x", "--compare_name", "x"], "must start with http:// or https://"),
        (
            ["--compare_url", "http://x/v1", "--compare_name", "x", "--compare_key_variable", "NO_SUCH_KEY"],
            "--compare_key_variable NO_SUCH_KEY: the environment holds no such variable",
        ),
        (["--output_path", "report.html"], "give a name that ends in .json"),
        (["--data_dir", "nowhere"], "promethios generate"),
        (["--model_path", "nowhere"], "model folder nowhere does not exist"),
    ],
)
def test_a_mistake_is_told_in_one_line_before_the_model_runs(
    evaluate: Callable[..., int],
    model: dict[str, Any],
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert evaluate(*options) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0]
    assert model["scored"] == []


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors", "config.json"])
def test_a_missing_model_file_is_named(
    evaluate: Callable[..., int],
    model: dict[str, Any],
    model_folder: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (model_folder / name).unlink()
    assert evaluate() == 2
    assert name in capsys.readouterr().err
    assert model["scored"] == []


def test_an_output_folder_that_cannot_be_made_is_refused_before_the_model_runs(
    evaluate: Callable[..., int], model: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert evaluate("--output_path", str(tmp_path / "file" / "report.json")) == 2
    assert "error: --output_path" in capsys.readouterr().err
    assert model["scored"] == []


def test_a_folder_as_report_is_refused(
    evaluate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.json").mkdir()
    assert evaluate("--output_path", str(tmp_path / "folder.json")) == 2
    assert "is a folder" in capsys.readouterr().err


def test_a_changed_dataset_is_refused(
    evaluate: Callable[..., int], model: dict[str, Any], dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (dataset / "test.jsonl").open("a") as file:
        file.write("{}\n")
    assert evaluate() == 2
    assert "test.jsonl" in capsys.readouterr().err
    assert model["scored"] == []


def test_examples_of_one_family_are_refused_with_the_way_out(
    evaluate: Callable[..., int], dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = dataset / "test.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    contents = {file.name: file.read_text() for file in dataset.iterdir() if file.name != "DATASET.sha256"}
    contents["test.jsonl"] = "".join(json.dumps({**line, "family": "legal/one"}) + "\n" for line in lines)
    write_dataset(dataset, contents)
    assert evaluate() == 2
    assert "one scenario family" in capsys.readouterr().err


def test_families_shared_with_the_training_split_are_reported(
    evaluate: Callable[..., int], model_folder: Path, dataset: Path
) -> None:
    contents = {file.name: file.read_text() for file in dataset.iterdir() if file.name != "DATASET.sha256"}
    contents["test.jsonl"] = contents["test.jsonl"].replace("/test-", "/train-")
    write_dataset(dataset, contents)
    evaluate("--num_examples", "300")
    assert any("in the training split and the test split" in note for note in read_report(model_folder)["notes"])


def test_checking_a_mistake_needs_no_torch() -> None:
    code = "import sys, promethios.governance_evaluation\nassert not {'torch', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_gates_of_a_release_are_asked_for_by_name(evaluate: Callable[..., int], model_folder: Path) -> None:
    assert evaluate("--gates", "release") == 1
    outcomes = holds(read_report(model_folder))
    assert not outcomes["enough_responses"], "60 responses show little"
    assert outcomes["held_out_auroc"] and outcomes["beats_best"]
    page = (model_folder / "evaluation_report.html").read_text()
    assert "<code>enough_responses</code>" in page
