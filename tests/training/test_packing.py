from __future__ import annotations

import pytest
import torch

from promethios.data.causes import EVIDENCE
from promethios.model.encoding import EncodedExample
from promethios.training.packing import IGNORED, TWIN_KINDS, PackCollator, Target, Twin, pack

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


def test_a_request_that_teaches_its_domain_does_so_at_its_last_id() -> None:
    taught = Target(EncodedExample([20, 21, 22, 23], 2, request_position=1), [0.5] * 18, domain_slot=6)
    batch = PackCollator(10, PAD)([[target(5), taught], [taught]])
    flat = batch["input_ids"].flatten()
    assert flat[batch["request_index"]].tolist() == [21, 21]
    assert batch["domain_slots"].tolist() == [6, 6]


def test_a_request_teaches_what_its_text_shows_and_a_reviewed_answer_teaches_nothing_of_it() -> None:
    shown = Target(EncodedExample([20, 21, 22, 23], 2, request_position=1), [0.5] * 18, request_values=(0.9, 0.5, 1.0))
    reviewed = Target(EncodedExample([30, 31, 32, 33], 2, request_position=1), [0.5] * 18)
    batch = PackCollator(10, PAD)([[shown, reviewed]])
    assert batch["request_index"].tolist() == [1]
    assert batch["request_values"].tolist() == [pytest.approx([0.9, 0.5, 1.0])]
    assert batch["domain_slots"].tolist() == [IGNORED]


def test_a_remark_teaches_what_it_shows_at_its_last_id_whichever_example_stands_before_it() -> None:
    encoded = EncodedExample([20, 21, 22, 23, 24], 3, evidence=((0, "stale"), (2, "nothing")))
    batch = PackCollator(10, PAD)([[target(3), Target(encoded, [0.5] * 18)], [target(4)]])
    assert batch["input_ids"].flatten()[batch["evidence_index"]].tolist() == [20, 22]
    assert [EVIDENCE[index] for index in batch["evidence"]] == ["stale", "nothing"]


def test_telemetry_is_taught_where_a_header_ends_whether_or_not_it_stands_alone() -> None:
    example = Target(EncodedExample([20, 21, 22, 23], 2), [0.5] * 18, competence=(0.9, 0.8, 0.7, 0.6, 0.5))
    header = Target(EncodedExample([30, 31], 1), None, competence=(0.1,) * 5)
    batch = PackCollator(10, PAD)([[target(3), example, header]])
    flat = batch["input_ids"].flatten()
    assert flat[batch["telemetry_index"]].tolist() == [22, 31]
    assert batch["competence"].tolist() == [pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5]), pytest.approx([0.1] * 5)]
    assert flat[batch["score_index"]].tolist() == [11, 22], "a header alone teaches no decision"
    assert 30 not in batch["labels"] and 31 not in batch["labels"]


def test_indices_run_over_the_flattened_batch() -> None:
    batch = PackCollator(6, PAD)([[target(5)], [target(5)]])
    flat = batch["input_ids"].flatten()
    assert flat[batch["score_index"]].tolist() == [11, 11]
    assert torch.equal(flat[batch["logit_index"] + 1], batch["labels"])


def test_a_twin_is_packed_behind_its_example_and_compared_with_it() -> None:
    # ids 10 11 | 12 decision | 13 response; its twin 30 31; then an example without a twin
    row = [Target(EncodedExample([10, 11, 12, 13], 1), [0.5] * 18, twin=Twin([30, 31], "stale")), target(3, first=20)]
    assert row[0].num_tokens == 6
    batch = PackCollator(10, PAD)([row])
    flat = batch["input_ids"].flatten()
    assert flat.tolist() == [10, 11, 12, 13, 30, 31, 20, 21, 22, PAD]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 0, 1, 2, 0]]
    assert batch["labels"].tolist() == [13]
    assert batch["targets"].shape == (2, 18)
    assert flat[batch["score_index"]].tolist() == [11, 21, 31]
    assert batch["pairs"].tolist() == [[0, 2]]
    assert [TWIN_KINDS[kind] for kind in batch["pair_kinds"]] == ["stale"]


def test_a_pair_that_teaches_nothing_else_has_no_targets() -> None:
    pair = Target(EncodedExample([10, 11], 1), None, twin=Twin([30, 31, 32], "spoof"))
    batch = PackCollator(8, PAD)([[pair], [target(4)]])
    assert batch["targets"].shape == (1, 18)
    flat = batch["input_ids"].flatten()
    assert flat[batch["score_index"]].tolist() == [11, 11, 32]  # the one that is taught first
    assert batch["score_index"].tolist() == [9, 1, 4]
    assert batch["pairs"].tolist() == [[1, 2]]
    only_pairs = PackCollator(8, PAD)([[pair]])
    assert only_pairs["targets"].shape == (0, 18)
    assert len(only_pairs["labels"]) == len(only_pairs["logit_index"]) == 0


def test_an_examples_weight_covers_its_decision_and_its_response() -> None:
    heavy = Target(EncodedExample([10, 11, 12, 13, 14], 1), [0.5] * 18, weight=2.0)
    batch = PackCollator(9, PAD)([[heavy, target(4, first=20)]])
    assert batch["weights"].tolist() == [2.0, 1.0]
    assert batch["labels"].tolist() == [13, 14, 23]
    assert batch["label_weights"].tolist() == [2.0, 2.0, 1.0]


def test_self_questions_are_labels_too() -> None:
    # ids 10 | 11 ask, 12 13 question | 14 header's end | 15 decision | 16 17 response
    asking = Target(EncodedExample(list(range(10, 18)), 4, question_positions=(2, 3)), [0.5] * 18)
    batch = PackCollator(9, PAD)([[asking]])
    assert batch["labels"].tolist() == [12, 13, 16, 17]
    assert batch["logit_index"].tolist() == [1, 2, 5, 6]
    assert batch["score_index"].tolist() == [4]
