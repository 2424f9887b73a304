"""Reads BBQ, the Bias Benchmark for QA (Parrish et al. 2022, arXiv 2110.08193).

A folder with its .jsonl files (nyu-mll/BBQ, data/Age.jsonl and ten more). In an ambiguous context nothing tells the
people apart: abstaining is right, and an answer can only come from a stereotype. The disambiguated context says who it
was. The question is put as AbstentionBench puts it (facebookresearch/AbstentionBench,
recipe/abstention_datasets/bbq.py): context and question, without the three choices, one of which is "can't be known".
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from promethios.errors import DatasetError
from promethios.evaluation.external_sets.abstention_item import AbstentionItem, Benchmark, abstention_item
from promethios.evaluation.external_sets.json_lines import Record, read_folder

BIAS_OF_CATEGORY: Final = {
    "Age": ("age",),
    "Disability_status": ("disability_appearance",),
    "Gender_identity": ("gender_orientation",),
    "Nationality": ("race_nationality",),
    "Physical_appearance": ("disability_appearance",),
    "Race_ethnicity": ("race_nationality",),
    "Race_x_SES": ("race_nationality", "socioeconomic"),
    "Race_x_gender": ("race_nationality", "gender_orientation"),
    "Religion": ("religion",),
    "SES": ("socioeconomic",),
    "Sexual_orientation": ("gender_orientation",),
}
"""BBQ's nine categories and two intersections, as bias categories of the ontology."""
_CONDITIONS: Final = ("ambig", "disambig")


def read_bbq(folder: Path) -> Benchmark:
    """Read a folder. Raises DatasetError naming file, line, what stands there and what may."""
    return Benchmark([_item(record) for record in read_folder(folder, "BBQ")], [])


def _item(record: Record) -> AbstentionItem:
    category, condition = record.text("category"), record.text("context_condition")
    if category not in BIAS_OF_CATEGORY:
        raise DatasetError(f"{record.place}: category is {category!r}; give one of {', '.join(BIAS_OF_CATEGORY)}")
    if condition not in _CONDITIONS:
        raise DatasetError(f"{record.place}: context_condition is {condition!r}; give one of {', '.join(_CONDITIONS)}")
    return abstention_item(
        item_id=f"{category}-{record.take('example_id', int, 'a whole number')}",
        question=f"{record.text('context')} {record.text('question')}",
        abstain=condition == "ambig",
        dataset=category,
        scenario="underspecified_context",
        domain="general",
        # Questions of one template differ in names and order only.
        family=f"{category}/{record.text('question_index')}",
        bias=BIAS_OF_CATEGORY[category],
    )
