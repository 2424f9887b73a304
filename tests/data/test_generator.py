"""The command and the dataset as a whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from promethios import user_friendly_governance_training_generator as generator
from promethios.data.causes import UNCERTAINTY
from promethios.data.example import Example
from promethios.data.folder import CARD, SPLITS, dataset_sha256, verify_dataset
from promethios.data.generate import ExampleWriter
from promethios.data.leakage import SHORTCUT_CEILINGS
from promethios.data.splits import PLANS, draw_split
from promethios.ontology.decision import decide
from promethios.ontology.governance_ontology import Ontology

SMALL = ["--num_examples", "200"]
PINNED = "79379f9f6132192e705983729602285a058bc7c576801957293ebc5f66dd9bee"
"""The hash of the small dataset of seed 7: it changes with the world, the wording and the ontology only."""


def test_the_command_writes_a_dataset_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "dataset"
    assert generator.main(["--output_dir", str(folder), "--seed", "7", *SMALL]) == 0
    verify_dataset(folder)
    said = capsys.readouterr()
    assert f"examples to {folder}" in said.out
    assert "train.jsonl: 200 examples" in said.out
    assert "train: 200 examples" in said.err


def test_the_same_seed_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    command = [sys.executable, "-m", generator.__name__, "--output-dir", str(folder), "--seed", "7", *SMALL]
    subprocess.run(command, check=True, capture_output=True)
    assert dataset_sha256(folder) == PINNED


@pytest.mark.parametrize("split", SPLITS)
def test_another_seed_gives_other_examples(ontology: Ontology, split: str) -> None:
    writer = ExampleWriter(split, ontology)
    first, second = (
        {example.prompt for part in draw_split(split, seed, 20, ontology) for example in writer.examples(part)}
        for seed in (0, 1)
    )
    assert first.isdisjoint(second)


@pytest.mark.parametrize(
    ("count", "message"),
    [
        ("1005", "--num_examples 1005: the quotas 30/40/20/10 need a multiple of 10, from 10"),
        ("0", "--num_examples 0"),
        ("-10", "--num_examples -10"),
        ("10000000", "to 1000000"),
    ],
)
def test_an_impossible_size_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: str, message: str
) -> None:
    assert generator.main(["--output_dir", str(tmp_path / "dataset"), "--num_examples", count]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "dataset").exists()


def test_a_folder_with_other_things_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    assert generator.main(["--output_dir", str(tmp_path)]) == 2
    assert "thesis.txt" in capsys.readouterr().err


@pytest.mark.parametrize("split", SPLITS)
def test_ids_are_unique_and_name_their_split(dataset: Mapping[str, list[Example]], split: str) -> None:
    assert len({example.id for example in dataset[split]}) == len(dataset[split])
    assert all(example.id.startswith(f"{split}-") and example.split == split for example in dataset[split])


def test_decisions_are_those_of_the_decision_function(every_example: list[Example], ontology: Ontology) -> None:
    for example in every_example:
        degraded = example.state is None or example.state.is_degraded()
        threshold = ontology.domain(str(example.domain)).escalation_threshold
        assert example.decision == decide(example.soft_label, threshold, degraded=degraded)
        assert sum(example.soft_label) == pytest.approx(1.0)


def test_behaviours_fit_their_decisions(every_example: list[Example]) -> None:
    pairs = {(example.behaviour, example.decision) for example in every_example}
    assert pairs == {
        ("high_confidence", "answer"),
        ("medium_confidence", "caveat"),
        ("medium_confidence", "clarify"),
        ("low_confidence_hitl", "escalate"),
        ("uncertain_emotional_hitl", "escalate"),
    }


def test_clarifications_are_about_something_missing(every_example: list[Example]) -> None:
    missing = [UNCERTAINTY.index(name) for name in ("underspecified_context", "underspecified_intent")]
    for example in every_example:
        if example.decision == "clarify":
            assert max(example.uncertainty[index] for index in missing) > 0.5


def test_the_header_leaves_things_out_now_and_then(dataset: Mapping[str, list[Example]]) -> None:
    train = dataset["train"]
    assert np.mean([example.state is None for example in train]) == pytest.approx(0.1, abs=0.03)
    assert np.mean([example.header_domain is None for example in train]) == pytest.approx(0.2, abs=0.03)
    assert all(example.header_domain in (None, example.domain) for example in train)


def test_each_decision_comes_with_high_and_with_low_trust(every_example: list[Example]) -> None:
    # The label is not a function of the tags: every value range of a channel occurs with every decision.
    for name in ("trust", "verify", "bound", "attest"):
        for decision in ("answer", "caveat", "clarify", "escalate"):
            values = [
                float(reading.value)
                for example in every_example
                if example.decision == decision and (reading := getattr(example.state, name, None)) is not None
            ]
            low, high = np.quantile(values, [0.02, 0.98])
            assert high - low > 0.3, (name, decision)


def test_norms_are_those_of_the_domain_and_fit_the_case(every_example: list[Example], ontology: Ontology) -> None:
    for example in every_example:
        assert set(example.norms) <= set(ontology.domain(str(example.domain)).norms)
        assert ("hand_over_when_unsure" in example.norms) == (example.decision == "escalate")
        assert ("equal_treatment" in example.norms) == (max(example.bias) > 0.5)


def test_the_card_has_front_matter_and_tells_what_was_measured(dataset_folder: Path, measured: dict[str, Any]) -> None:
    card = (dataset_folder / CARD).read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---\n")[1])
    files = front["configs"][0]["data_files"]
    assert [file["split"] for file in files] == list(SPLITS)
    assert all((dataset_folder / file["path"]).is_file() for file in files)
    for split in (split for split in SPLITS if split.startswith("test")):
        for source, scores in measured[split]["ceilings"].items():
            row = " | ".join(f"{value:.3f}" for value in scores.values())
            assert f"| {split} | {source.replace('_', ' ')} | {row} |" in card
    for split, plan in PLANS.items():
        for kind in plan.pair_kinds:
            assert f"| {split}, {kind.replace('_', ' ')} | {measured[split][kind]['num_examples']} |" in card
    distances = measured["train"]["channel_distances"]
    assert f"| {' | '.join(f'{distance:.2f}' for distance in distances.values())} |" in card
    assert f"| {' | '.join(f'{bound:.2f}' for bound in SHORTCUT_CEILINGS.values())} |" in card
    assert measured["seed"] == 0
    assert max(map(len, card.splitlines())) < 300
