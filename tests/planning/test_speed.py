from __future__ import annotations

import json
from pathlib import Path

import pytest

from promethios.configs.run_config import load_run_config
from promethios.planning.nodes import ACCELERATORS, parse_node
from promethios.planning.speed import delivered_flops, flops_per_position, muon_flops
from promethios.planning.workload import estimated_workload

BENCH = Path(__file__).parents[2] / "bench" / "results" / "training.json"


def test_flops_of_8b_by_hand() -> None:
    multiplying = (
        24 * (4096 * (4096 + 1024 + 1024 + 4096) + 3 * 4096 * 20224)  # attention and MLP
        + 49 * 4096  # norms
        + 3 * (4096 + 2 * 4096 * 1024 + 3 * 4097 + 2 * 3 * 32 * 1024 + 1)  # anchors
        + 7 * (4096 + 2 * 4096 * 256 + 6 * (2 * 4096 + 1) + 1)  # veritas
        + 5 * (4096 + 2 * 4096 * 128 + 1)  # tool
        + 18 * 4097  # heads
        + 0.3 * 128512 * 4096  # output head, at the responses
    )
    expected = 6 * multiplying + 12 * 24 * 4096 * 2048
    assert flops_per_position(load_run_config("8b").model, 2048, 0.3) == pytest.approx(expected, rel=1e-12)


def test_a_weight_that_stands_still_costs_four() -> None:
    model = load_run_config("8b").model
    attention = 12 * 24 * 4096 * 2048
    full, frozen = (flops_per_position(model, 2048, 0.3, share) for share in (1.0, 0.0))
    assert (frozen - attention) / (full - attention) == pytest.approx(4 / 6)


def test_the_published_throughput_of_a_7b_model_gives_its_published_utilisation() -> None:
    """llm-foundry: 6.66 B parameters, 32 layers x 4096, length 2048, 8 A100-40GB: 29,436 tokens/s."""
    flops = 6 * 6.66e9 + 12 * 32 * 4096 * 2048
    delivered = delivered_flops(load_run_config("8b").model, parse_node("8xa100-40gb"))
    assert 29_436 * flops / (8 * 312e12) == pytest.approx(max(delivered), abs=0.001)


def test_the_seeds_61_million_tokens_take_8b_38_to_49_minutes_on_8_a100() -> None:
    """6 x 7.54 B + 2.4 B for attention = 47.7 GFLOPs a token; not the seed's 12 to 16 hours."""
    model = load_run_config("8b").model
    work = 61.4e6 * flops_per_position(model, 2048, 1.0)
    minutes = [work / rate / 60 for rate in delivered_flops(model, parse_node("8xa100-40gb")).values()]
    assert minutes == pytest.approx([48.9, 38.4], abs=0.1)


def test_muons_flops_are_those_of_its_iterations_on_the_layers_matrices() -> None:
    """nano: four matrices 192 x 192 and three 192 x 512 in each of four layers."""
    square = 5 * (2 * 192 * 192 * 192 + 2 * 192**3 + 2 * 192 * 192 * 192)  # X X^T, its square, their product with X
    wide = 5 * (2 * 192 * 512 * 192 + 2 * 192**3 + 2 * 192 * 192 * 512)
    assert muon_flops(load_run_config("nano").model) == 4 * (4 * square + 3 * wide)


def test_no_speed_is_claimed_where_nothing_was_published() -> None:
    assert delivered_flops(load_run_config("nano").model, parse_node("8xa100-40gb")) == {}
    assert delivered_flops(load_run_config("8b").model, parse_node("8xv100-32gb")) == {}


def test_the_speed_on_cpu_is_the_recorded_one() -> None:
    recorded = json.loads(BENCH.read_text(encoding="utf-8"))["results"]["tokens_per_second"]["1_rank_2_threads"][
        "median"
    ]
    config = load_run_config("nano")
    work = estimated_workload(config.model, config.training, 10_000)
    positions = config.training.batch_size * work.sequence_length
    flops = flops_per_position(config.model, work.sequence_length, work.predicted_share)
    flops += muon_flops(config.model) / positions
    assert ACCELERATORS["cpu"].peak_flops / flops * work.fill == pytest.approx(recorded, rel=0.2)
