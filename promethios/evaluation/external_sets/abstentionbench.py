"""Reads AbstentionBench (Kirichenko et al. 2025, arXiv 2506.09038).

A folder with one .jsonl file a dataset, named as the benchmark names it (`FalseQADataset.jsonl`, or `falseqa.jsonl`).
A line is the benchmark's `Prompt`: `question`, `reference_answers`, `should_abstain` and `metadata`
(facebookresearch/AbstentionBench, recipe/abstention_datasets/abstract_abstention_dataset.py), or a row of its Hugging
Face form, which has `metadata_json` in place of `metadata`. README.md beside this file shows how to write the folder.

Scenarios, and the parts that count nowhere, are those of the benchmark's own analysis (analysis/load_results.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from promethios.errors import DatasetError
from promethios.evaluation.external_sets.abstention_item import AbstentionItem, Benchmark, abstention_item
from promethios.evaluation.external_sets.json_lines import Record, read_folder

_SCENARIO_DATASETS: Final = {
    "underspecified_context": (
        "alcuna", "averitec", "bbq", "bigbenchdisambiguate", "gpqa", "gsm8k", "mediq", "mmluhistory", "mmlumath",
        "musique", "qasper", "squad2", "umwp", "worldsense",
    ),
    "unknown_answer": (
        "bigbenchknownunknowns", "coconot/unknowns", "coconot/unsupported", "kuq/futureunknown", "kuq/unsolvedproblem",
    ),
    "false_premise": ("coconot/falsepresumptions", "falseqa", "kuq/falseassumption", "qaqa"),
    "stale": ("coconot/temporal", "freshqa"),
    "subjective": ("coconot/humanizing", "coconot/subjective", "kuq/controversial", "moralchoice"),
    "underspecified_intent": ("coconot/incomprehensible", "kuq/ambiguous", "situatedqageo", "situatedqa"),
}  # fmt: skip
_SCENARIOS: Final = {dataset: name for name, datasets in _SCENARIO_DATASETS.items() for dataset in datasets}
_LEFT_OUT: Final = ("coconot/safety", "coconot/underspecification", "kuq/counterfactual", "kuq/", "selfaware", "nq")
_CATEGORY_KEYS: Final = {"coconot": "CoCoNot_AbstentionBench_category", "kuq": "KUQ_category"}
"""Two datasets are several: the benchmark reports each category of theirs on its own."""


def read_abstentionbench(folder: Path) -> Benchmark:
    """Read a folder. Raises DatasetError naming file, line, what stands there and what may."""
    items: list[AbstentionItem] = []
    left_out = unlabelled = 0
    for record in read_folder(folder, "AbstentionBench"):
        dataset = _dataset(record)
        if dataset in _LEFT_OUT:
            left_out += 1
        elif record.fields.get("should_abstain") is None:
            unlabelled += 1
        else:
            items.append(_item(record, dataset))
    notes = []
    if left_out:
        notes.append(f"{left_out} questions are of parts that AbstentionBench's own analysis leaves out; so does this.")
    if unlabelled:
        notes.append(f"{unlabelled} questions have no should_abstain and were left out.")
    return Benchmark(items, notes)


def _item(record: Record, dataset: str) -> AbstentionItem:
    return abstention_item(
        item_id=f"{dataset}-{record.number:05d}",
        question=record.text("question"),
        abstain=record.take("should_abstain", bool, "true or false"),
        dataset=dataset,
        scenario=_SCENARIOS.get(dataset),
        domain="healthcare" if dataset == "mediq" else "general",
    )


def _dataset(record: Record) -> str:
    """Return the dataset's short name, such as `falseqa` or `kuq/futureunknown`."""
    name = _short(record.path.stem).removesuffix("dataset")
    key = _CATEGORY_KEYS.get(name)
    return name if key is None else f"{name}/{_short(str(_metadata(record).get(key) or ''))}"


def _metadata(record: Record) -> Mapping[str, Any]:
    if "metadata_json" not in record.fields:
        return record.take("metadata", dict, "an object")
    try:
        return dict(json.loads(record.text("metadata_json")))
    except (TypeError, ValueError):
        raise DatasetError(f"{record.place}: metadata_json must be the text of a JSON object") from None


def _short(name: str) -> str:
    return re.sub(r"[^a-z0-9/]", "", name.lower())
