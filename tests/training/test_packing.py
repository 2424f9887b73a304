from __future__ import annotations

import torch

from promethios.model.encoding import EncodedExample
from promethios.training.packing import PackCollator, Target, pack

PAD = 0


def target(length: int, decision_position: int = 1, first: int = 10) -> Target:
    return Target(EncodedExample(list(range(first, first + length)), decision_position), [0.5] * 18)


def test_every_example_is_packed_exactly_once_and_no_pack_is_too_long() -> None:
    targets = [target(length, first=100 * length) for length in (5, 9, 3, 8, 2, 7, 1, 10, 4, 6)]
    packs = pack(targets, 10)
    packed = sorted(t.encoded.ids[0] for row in packs for t in row)
    assert packed == sorted(t.encoded.ids[0] for t in targets)
    assert all(sum(len(t.encoded.ids) for t in row) <= 10 for row in packs)
    assert len(packs) == 6  # 55 tokens: the least that is possible


def test_packing_is_deterministic() -> None:
    targets = [target(1 + i % 9, first=i) for i in range(50)]
    first = [[t.encoded.ids for t in row] for row in pack(targets, 16)]
    assert first == [[t.encoded.ids for t in row] for row in pack(targets, 16)]


def test_a_batch_points_at_decisions_and_labels_only_responses() -> None:
    # ids 10 11 | 12 is the decision | 13 14 the response; then a second example and one id of padding
    row = [target(5, decision_position=1), target(4, decision_position=2, first=20)]
    batch = PackCollator(10, PAD)([row])
    assert batch["input_ids"].tolist() == [[10, 11, 12, 13, 14, 20, 21, 22, 23, PAD]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 3, 0]]
    assert batch["score_index"].tolist() == [1, 7]
    assert batch["logit_index"].tolist() == [2, 3]
    assert batch["labels"].tolist() == [13, 14]
    assert batch["targets"].shape == (2, 18)


def test_indices_run_over_the_flattened_batch() -> None:
    batch = PackCollator(6, PAD)([[target(5)], [target(5)]])
    flat = batch["input_ids"].flatten()
    assert flat[batch["score_index"]].tolist() == [11, 11]
    assert torch.equal(flat[batch["logit_index"] + 1], batch["labels"])
