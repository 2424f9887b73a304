from __future__ import annotations

from typing import Any

import pytest

from promethios.configs.run_config import preset_names
from promethios.planning.console import render
from promethios.planning.nodes import parse_node


def test_8b_on_the_seeds_machine(plan_of: Any) -> None:
    plan = plan_of(training__gradient_accumulation_steps=32)
    assert sum(plan.parameters.values()) == pytest.approx(8.07e9, rel=0.001)
    assert plan.sequences_per_step == 256
    assert plan.largest.memory.states == pytest.approx(16.1e9, rel=0.01)
    assert plan.stages[0].checkpoint.full_bytes == pytest.approx(113e9, rel=0.01)
    assert plan.here.fits


def test_hours_and_cost_hold_the_saves(plan_of: Any) -> None:
    rare, often = (plan_of(training__save_steps=steps, price_per_hour=22.0) for steps in (120, 20))
    for before, after in zip(rare.here.estimates, often.here.estimates, strict=True):
        assert (after.hours - before.hours) * 3600 == pytest.approx(5 * often.save_seconds)
        assert after.cost == pytest.approx(22 * after.hours)


def test_two_machines_cost_twice_as_much_an_hour(plan_of: Any) -> None:
    plan = plan_of(node="16xa100-40gb", price_per_hour=22.0)
    estimate = plan.here.estimates[0]
    assert estimate.cost == pytest.approx(2 * 22 * estimate.hours)


def test_only_the_node_asked_for_has_the_price(plan_of: Any) -> None:
    nodes = plan_of(price_per_hour=22.0).nodes
    assert [node.node for node in nodes if any(estimate.cost for estimate in node.estimates)] == ["8xa100-40gb"]


def test_a_node_that_is_too_small_gets_no_hours(plan_of: Any) -> None:
    here = plan_of(node="2xa100-40gb").here
    assert here.fits is False
    assert here.room_bytes < 0
    assert here.estimates == []


def test_preserving_a_backbone_while_everything_trains_needs_a_whole_copy_of_it(plan_of: Any) -> None:
    everything = {"training__stages": "null"}
    kept = plan_of("llama_3_1_8b", node="8xa100-80gb", **everything).largest.memory
    free = plan_of(
        "llama_3_1_8b", node="8xa100-80gb", training__preservation="{weight: 0}", **everything
    ).largest.memory
    staged = plan_of("llama_3_1_8b", node="8xa100-80gb").largest.memory
    assert kept.backbone_copy == pytest.approx(16.06e9, rel=0.001)
    assert free.backbone_copy == staged.backbone_copy == 0
    assert kept.logits > free.logits


def test_the_stage_that_needs_most_gives_the_memory(plan_of: Any) -> None:
    plan = plan_of("llama_3_1_8b")
    assert [stage.train for stage in plan.stages] == ["modules", "lora"]
    assert plan.largest.train == "lora"
    assert plan.stages[0].trained < plan.stages[1].trained < 0.1 * sum(plan.parameters.values())


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_fits_a_node_and_is_shown(name: str, plan_of: Any) -> None:
    node = {"nano": "cpu", "small": "cpu", "30b": "16xa100-80gb"}.get(name, "8xa100-40gb")
    plan = plan_of(name, node, num_examples=10_000)
    assert plan.here.fits is not (parse_node(node).usable_bytes is None)
    text = render(plan, [])
    assert text.startswith(f"{name} on {node}\n")
    assert all(len(line) < 120 and line == line.rstrip() for line in text.splitlines())
