"""Pack examples of different lengths into sequences of one length, so that little of a batch is padding.

Each example keeps its own positions, starting at 0; attention stays inside an example because the model reads restarts
of position_ids as boundaries. Packs are made once and never cross an example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset

from promethios.data.example import Example
from promethios.errors import ConfigError
from promethios.model.encoding import EncodedExample, PromptEncoder

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Target:
    """What an example teaches at its decision position; see `target_vector` for the order."""

    encoded: EncodedExample
    values: list[float]


def target_vector(example: Example) -> list[float]:
    """Return an example's 18 soft targets in SCORE_NAMES order, each in [0, 1]."""
    return [*example.soft_label, example.confidence, *example.uncertainty, *example.bias, float(example.tool)]


def encode_targets(encoder: PromptEncoder, examples: Sequence[Example], sequence_length: int) -> list[Target]:
    """Encode examples. Raises ConfigError naming the first one that is longer than a sequence."""
    targets = []
    for example in examples:
        encoded = encoder.example(example)
        if len(encoded.ids) > sequence_length:
            raise ConfigError(
                f"example {example.id} has {len(encoded.ids)} tokens, more than training.sequence_length"
                f" {sequence_length}; raise it"
            )
        targets.append(Target(encoded, target_vector(example)))
    return targets


def pack(targets: Sequence[Target], sequence_length: int) -> list[list[Target]]:
    """Fill sequences by first-fit over examples in decreasing length; the same input gives the same packs."""
    order = sorted(range(len(targets)), key=lambda i: (-len(targets[i].encoded.ids), i))
    packs: list[list[Target]] = []
    # Free space -> indices of packs that have exactly that much left; lengths are small integers.
    with_space: dict[int, list[int]] = {}
    for i in order:
        length = len(targets[i].encoded.ids)
        space = next((s for s in range(length, sequence_length + 1) if with_space.get(s)), None)
        if space is None:
            index, space = len(packs), sequence_length
            packs.append([])
        else:
            index = with_space[space].pop()
        packs[index].append(targets[i])
        with_space.setdefault(space - length, []).append(index)
    return packs


class PackedDataset(Dataset[list[Target]]):
    """Packs as a map-style dataset, one pack an item."""

    def __init__(self, targets: Sequence[Target], sequence_length: int) -> None:
        self.packs = pack(targets, sequence_length)
        self.num_tokens = sum(len(target.encoded.ids) for target in targets)

    def __len__(self) -> int:
        return len(self.packs)

    def __getitem__(self, index: int) -> list[Target]:
        return self.packs[index]


@dataclass(frozen=True, slots=True)
class PackCollator:
    """Turn packs into one batch of tensors.

    input_ids, position_ids: [batch, sequence_length]. logit_index [R]: flattened positions whose next id is part of a
    response; labels [R]: those ids. score_index [N]: flattened decision positions; targets [N, 18].
    """

    sequence_length: int
    pad_id: int

    def __call__(self, packs: Sequence[list[Target]]) -> dict[str, torch.Tensor]:
        """Return the batch."""
        input_ids: list[list[int]] = []
        position_ids: list[list[int]] = []
        labels: list[list[int]] = []
        scores: list[int] = []
        values: list[list[float]] = []
        for row in packs:
            ids: list[int] = []
            positions: list[int] = []
            next_ids: list[int] = []
            for target in row:
                encoded = target.encoded
                scores.append(len(input_ids) * self.sequence_length + len(ids) + encoded.decision_position)
                values.append(target.values)
                ids += encoded.ids
                positions += range(len(encoded.ids))
                response = encoded.decision_position + 1  # the decision id: the response follows it
                next_ids += [IGNORED] * response + encoded.ids[response + 1 :] + [IGNORED]
            padding = self.sequence_length - len(ids)
            input_ids.append(ids + [self.pad_id] * padding)
            position_ids.append(positions + list(range(padding)))
            labels.append(next_ids + [IGNORED] * padding)
        flat = torch.tensor(labels).flatten()
        logit_index = (flat != IGNORED).nonzero().squeeze(1)
        return {
            "input_ids": torch.tensor(input_ids),
            "position_ids": torch.tensor(position_ids),
            "logit_index": logit_index,
            "labels": flat[logit_index],
            "score_index": torch.tensor(scores),
            "targets": torch.tensor(values),
        }
