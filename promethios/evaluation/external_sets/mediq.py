"""Reads MediQ (Li et al. 2024, arXiv 2406.00922).

A folder with its .jsonl files (stellalisy/mediQ, data/all_craft_md.jsonl and data/all_dev_good.jsonl). A record gives
two questions, as in AbstentionBench (facebookresearch/AbstentionBench, recipe/abstention_datasets/mediq.py): with the
patient's whole context an answer is right; with its first sentence alone one has to ask. A record of fewer than two
sentences is left out: both questions would be the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from promethios.errors import DatasetError
from promethios.evaluation.external_sets.abstention_item import AbstentionItem, Benchmark, abstention_item
from promethios.evaluation.external_sets.json_lines import Record, read_folder

MIN_SENTENCES: Final = 2


def read_mediq(folder: Path) -> Benchmark:
    """Read a folder. Raises DatasetError naming file, line, what stands there and what may."""
    items: list[AbstentionItem] = []
    left_out = 0
    for record in read_folder(folder, "MediQ"):
        sentences = _sentences(record)
        if len(sentences) < MIN_SENTENCES:
            left_out += 1
        else:
            items += _items(record, sentences)
    notes = [f"{left_out} records have fewer than {MIN_SENTENCES} sentences of context and were left out."]
    return Benchmark(items, notes if left_out else [])


def _items(record: Record, sentences: Sequence[str]) -> Iterator[AbstentionItem]:
    dataset = record.path.stem
    family = f"{dataset}/{record.take('id', int, 'a whole number')}"
    choices = "\n".join(map(str, record.take("options", dict, "an object of choices").values()))
    for known, abstain in ((sentences, False), (sentences[:1], True)):
        yield abstention_item(
            item_id=f"{family}/{'initial' if abstain else 'full'}",
            question=f"Context: {' '.join(known)}\nQuestion: {record.text('question')}\nChoices:\n{choices}\nAnswer: ",
            abstain=abstain,
            dataset=dataset,
            scenario="underspecified_context",
            domain="healthcare",
            family=family,
        )


def _sentences(record: Record) -> list[str]:
    """Return the context's sentences, each with its full stop."""
    context = record.take("context", list, "a list of sentences")
    if not all(isinstance(sentence, str) for sentence in context):
        raise DatasetError(f"{record.place}: context must be a list of sentences")
    return [sentence if sentence.endswith(".") else f"{sentence}." for sentence in context]
