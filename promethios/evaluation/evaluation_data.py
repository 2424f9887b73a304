"""The splits that one evaluation reads, and the examples drawn from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from promethios.data.example import PAIR_MEMBERS, Example, read_examples
from promethios.data.folder import split_path
from promethios.errors import DatasetError
from promethios.evaluation.recalibration import CalibrationExamples

Pair = tuple[Example, Example]
_Item = TypeVar("_Item")

_TEST_SETS: Final = {
    "test": "test",
    "held_out_domains": "test_held_out_domains",
    "held_out_values": "test_held_out_values",
    "held_out_wording": "test_held_out_wording",
}


@dataclass(frozen=True, kw_only=True)
class EvaluationData:
    """What is evaluated on. test_sets: by the names that the report uses. notes: what its reader should know."""

    train: list[Example]
    calibration: CalibrationExamples
    test_sets: dict[str, list[Example]]
    conflict_pairs: list[Pair]
    spoof_pairs: list[Pair]
    bias_pairs: list[Pair]
    tool_use: list[Example]
    notes: list[str]

    @property
    def test(self) -> list[Example]:
        """The in-domain test set."""
        return self.test_sets["test"]


def read_evaluation_data(data_dir: Path, num_examples: int, seed: int) -> EvaluationData:
    """Read every split and draw up to `num_examples` examples, or pairs, of each set that is measured on.

    Training and calibration splits are used whole. Raises DatasetError when a split is missing or a pair is not whole.
    """
    rng = np.random.default_rng(seed)

    def examples(split: str) -> list[Example]:
        return _drawn(read_examples(split_path(data_dir, split)), num_examples, rng)

    def pairs(split: str) -> list[Pair]:
        path = split_path(data_dir, split)
        return _drawn(pairs_of(read_examples(path), str(path)), num_examples, rng)

    train = read_examples(split_path(data_dir, "train"))
    test_sets = {name: examples(split) for name, split in _TEST_SETS.items()}
    return EvaluationData(
        train=train,
        calibration=CalibrationExamples.divide(read_examples(split_path(data_dir, "calibration"))),
        test_sets=test_sets,
        conflict_pairs=pairs("conflict_pairs"),
        spoof_pairs=pairs("spoof_pairs"),
        bias_pairs=pairs("bias_pairs"),
        tool_use=examples("tool_use"),
        notes=_notes(train, test_sets, num_examples),
    )


def pairs_of(examples: Sequence[Example], place: str) -> list[Pair]:
    """Return the pairs (member a, member b) that the examples of one file form, in order.

    place: the file, for messages. Raises DatasetError for half a pair, a member that is there twice, and members of two
    kinds.
    """
    members: dict[str, dict[str, Example]] = {}
    for example in examples:
        if example.pair is None:
            raise DatasetError(f"{place}: example {example.id} has no pair; every example there is one of two members")
        name, member = example.pair.id, example.pair.member
        found = members.setdefault(name, {})
        if member in found:
            raise DatasetError(
                f"{place}: pair {name} has member {member} twice ({found[member].id}, {example.id}); give every pair "
                "an id of its own"
            )
        found[member] = example
    for name, found in members.items():
        if found.keys() != set(PAIR_MEMBERS):
            raise DatasetError(f"{place}: pair {name} has member {', '.join(sorted(found))} only; give both a and b")
        kinds = [example.pair.kind for example in found.values() if example.pair]
        if len(set(kinds)) > 1:
            raise DatasetError(f"{place}: pair {name} is of kind {' and '.join(kinds)}; give both members one kind")
    return [(found["a"], found["b"]) for found in members.values()]


def flat(pairs: Sequence[Pair]) -> list[Example]:
    """Return the members of all pairs one after the other: a, b, a, b."""
    return [member for pair in pairs for member in pair]


def _drawn(items: list[_Item], num: int, rng: np.random.Generator) -> list[_Item]:
    chosen = rng.permutation(len(items))[:num]
    return [items[index] for index in sorted(chosen.tolist())]


def _notes(train: Sequence[Example], test_sets: dict[str, list[Example]], num_examples: int) -> list[str]:
    notes = []
    fewer = [f"{len(examples):,} in {name}" for name, examples in test_sets.items() if len(examples) < num_examples]
    if fewer:
        notes.append(f"{num_examples:,} examples were asked for; there are {', '.join(fewer)}: all were used.")
    shared = {example.family for example in test_sets["test"]} & {example.family for example in train}
    if shared:
        notes.append(
            f"{len(shared)} scenario families are in the training split and the test split: scores are too good."
        )
    return notes
