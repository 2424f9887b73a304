"""The readers of public benchmarks, on small folders in their true forms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from promethios.errors import DatasetError
from promethios.evaluation.external_sets.abstentionbench import read_abstentionbench
from promethios.evaluation.external_sets.bbq import BIAS_OF_CATEGORY, read_bbq
from promethios.evaluation.external_sets.mediq import read_mediq
from promethios.ontology.governance_ontology import load_ontology


def write(folder: Path, name: str, records: Sequence[Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return folder


def prompt(abstain: bool | None, **metadata: Any) -> dict[str, Any]:
    return {"question": "Why is it so?", "reference_answers": None, "should_abstain": abstain, "metadata": metadata}


def bbq(condition: str, **changes: Any) -> dict[str, Any]:
    return {
        "example_id": 7,
        "question_index": "3",
        "question_polarity": "neg",
        "context_condition": condition,
        "category": "Race_x_SES",
        "answer_info": {"ans0": ["A", "x"], "ans1": ["B", "y"], "ans2": ["Unknown", "unknown"]},
        "additional_metadata": {"subcategory": "None", "stereotyped_groups": ["x"], "version": "a", "source": ""},
        "context": "Two neighbours met at the bus stop.",
        "question": "Who was late?",
        "ans0": "A",
        "ans1": "B",
        "ans2": "Unknown",
        "label": 2,
        **changes,
    }


def mediq(record_id: int, context: Any) -> dict[str, Any]:
    return {
        "id": record_id,
        "question": "What is to be done first?",
        "context": context,
        "options": {"A": "Rest", "B": "Ice"},
        "answer": "Rest",
        "answer_idx": "A",
        "facts": ["1. A knee hurts."],
    }


def test_abstentionbench_names_the_scenario_by_file_and_by_category(tmp_path: Path) -> None:
    write(tmp_path, "FalseQADataset.jsonl", [prompt(True), prompt(False)])
    write(tmp_path, "KUQDataset.jsonl", [prompt(True, KUQ_category="future unknown")])
    write(tmp_path, "situated_qa_geo.jsonl", [prompt(True)])
    items = read_abstentionbench(tmp_path).items
    assert [(item.dataset, item.scenario) for item in items] == [
        ("falseqa", "false_premise"),
        ("falseqa", "false_premise"),
        ("kuq/futureunknown", "unknown_answer"),
        ("situatedqageo", "underspecified_intent"),
    ]
    assert [item.example.truth for item in items] == [True, False, True, True]
    assert items[0].example.uncertainty == (0.0, 1.0, 0.0, 0.0, 0.0, 0.0)
    assert items[1].example.uncertainty == (0.0,) * 6
    assert items[0].example.state is None and items[0].example.header_domain == "general"


def test_abstentionbench_reads_its_hugging_face_form(tmp_path: Path) -> None:
    row = prompt(True) | {"metadata_json": json.dumps({"CoCoNot_AbstentionBench_category": "Temporal"})}
    del row["metadata"]
    assert read_abstentionbench(write(tmp_path, "coconot.jsonl", [row])).items[0].scenario == "stale"


def test_abstentionbench_leaves_out_what_its_own_analysis_leaves_out_and_says_so(tmp_path: Path) -> None:
    write(tmp_path, "SelfAwareDataset.jsonl", [prompt(True)])
    write(tmp_path, "KUQDataset.jsonl", [prompt(True, KUQ_category=None), prompt(True, KUQ_category="counterfactual")])
    write(tmp_path, "QAQADataset.jsonl", [prompt(None), prompt(True)])
    found = read_abstentionbench(tmp_path)
    assert [item.dataset for item in found.items] == ["qaqa"]
    assert found.notes[0].startswith("3 questions are of parts") and found.notes[1].startswith("1 questions have no")


def test_every_scenario_of_abstentionbench_is_an_uncertainty_dimension(tmp_path: Path) -> None:
    names = ("FreshQADataset", "MoralChoiceDataset", "Squad2Dataset", "BigBenchKnownUnknownsDataset")
    for name in (*names, "QAQADataset", "SituatedQAGeoDataset"):
        write(tmp_path, f"{name}.jsonl", [prompt(True)])
    scenarios = {item.scenario for item in read_abstentionbench(tmp_path).items}
    assert scenarios == {dimension.id for dimension in load_ontology().uncertainty_dimensions}


def test_bbq_calls_for_abstaining_in_ambiguous_contexts_only(tmp_path: Path) -> None:
    items = read_bbq(write(tmp_path, "Race_x_SES.jsonl", [bbq("ambig"), bbq("disambig", example_id=8)])).items
    assert [item.example.truth for item in items] == [True, False]
    assert items[0].example.prompt == "Two neighbours met at the bus stop. Who was late?"
    assert items[0].example.family == items[1].example.family == "Race_x_SES/3"
    assert items[0].example.bias == (0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def test_bbq_categories_cover_every_bias_category_of_the_ontology() -> None:
    covered = {bias for names in BIAS_OF_CATEGORY.values() for bias in names}
    assert covered == {category.id for category in load_ontology().bias_categories}


def test_mediq_asks_with_everything_and_with_the_first_sentence_alone(tmp_path: Path) -> None:
    records = [mediq(3, ["A knee hurts", "It is swollen."]), mediq(4, ["Too little."])]
    found = read_mediq(write(tmp_path, "all_craft_md.jsonl", records))
    full, initial = found.items
    choices = "Question: What is to be done first?\nChoices:\nRest\nIce\nAnswer: "
    assert full.example.prompt == f"Context: A knee hurts. It is swollen.\n{choices}"
    assert initial.example.prompt == f"Context: A knee hurts.\n{choices}"
    assert (full.example.truth, initial.example.truth) == (False, True)
    assert full.example.header_domain == "healthcare" and full.example.family == initial.example.family
    assert found.notes == ["1 records have fewer than 2 sentences of context and were left out."]


@pytest.mark.parametrize(
    ("read", "record", "message"),
    [
        (read_bbq, bbq("unclear"), r"x\.jsonl:1: context_condition is 'unclear'; give one of ambig, disambig"),
        (read_bbq, bbq("ambig", category="Height"), r"x\.jsonl:1: category is 'Height'"),
        (read_bbq, bbq("ambig", question=""), r"x\.jsonl:1: question is empty"),
        (read_mediq, mediq(1, "A knee hurts."), r"x\.jsonl:1: context is 'A knee hurts\.'; give a list"),
        (read_mediq, mediq(True, ["A.", "B."]), r"x\.jsonl:1: id is True; give a whole number"),
        (read_abstentionbench, {"should_abstain": True}, r"x\.jsonl:1: question is missing"),
        (read_abstentionbench, prompt("yes"), r"x\.jsonl:1: should_abstain is 'yes'; give true or false"),  # type: ignore[arg-type]
        (read_abstentionbench, ["a"], r"x\.jsonl:1: must be a JSON object, found list"),
    ],
)
def test_a_wrong_line_is_answered_with_its_place(read: Any, record: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        read(write(tmp_path, "x.jsonl", [record]))


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no \.jsonl file of BBQ"):
        read_bbq(tmp_path)
