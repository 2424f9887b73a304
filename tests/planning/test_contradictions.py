from __future__ import annotations

from typing import Any

import pytest

from promethios.configs.run_config import load_run_config
from promethios.planning.contradictions import notes, problems
from promethios.training.deepspeed_config import deepspeed_config


def found(plan: Any) -> dict[str, str]:
    return {problem.key: problem.message for problem in problems(plan)}


@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("nano", "cpu"),
        ("small", "cpu"),
        ("8b", "8xa100-40gb"),
        ("13b", "8xa100-40gb"),
        ("30b", "16xa100-80gb"),
        ("llama_3_1_8b", "8xa100-40gb"),
        ("qwen3_8b", "8xa100-40gb"),
    ],
)
def test_every_preset_plans_cleanly_on_its_node(plan_of: Any, name: str, node: str) -> None:
    assert found(plan_of(name, node, num_examples=10_000)) == {}


def test_the_seeds_run_without_packing_has_nothing_to_refuse(plan_of: Any) -> None:
    plan = plan_of(training__effective_batch_size=256, training__save_steps=20, grace_period_seconds=400)
    assert plan.steps == 120
    assert found(plan) == {}


def test_an_effective_batch_that_the_factors_do_not_give_is_refused(plan_of: Any) -> None:
    plan = plan_of(node="4xa100-80gb", training__effective_batch_size=256, training__save_steps=20)
    assert found(plan) == {
        "training.effective_batch_size": "is 256, but 1 x 32 x 4 ranks is 128; set gradient_accumulation_steps=64"
    }


def test_an_effective_batch_that_no_accumulation_gives_is_refused(plan_of: Any) -> None:
    plan = plan_of(training__effective_batch_size=100, training__save_steps=20)
    assert "choose a multiple of batch_size x ranks, 8" in found(plan)["training.effective_batch_size"]


def test_a_checkpoint_every_1000_of_120_steps_is_refused(plan_of: Any) -> None:
    message = found(plan_of(training__save_steps=1000))["training.save_steps"]
    assert "a checkpoint every 1000 of 120 steps; save every 24" in message


def test_packing_leaves_so_few_steps_that_saving_every_20_is_refused(plan_of: Any) -> None:
    plan = plan_of(num_examples=10_000, training__save_steps=20, training__gradient_accumulation_steps=32)
    assert plan.steps < 20
    assert "a step of 256 sequences is 3," in found(plan)["training.save_steps"]


def test_a_stage_with_too_few_steps_is_named(plan_of: Any) -> None:
    plan = plan_of("llama_3_1_8b", num_examples=1000, training__save_steps=100)
    assert {problem.message.split(";")[0].rpartition(" ")[2] for problem in problems(plan)} == {"modules", "lora"}


def test_a_grace_period_shorter_than_step_and_saves_is_refused(plan_of: Any) -> None:
    arguments = {"training__save_steps": 20, "grace_period_seconds": 30}
    message = found(plan_of(**arguments))["--grace_period_seconds"]
    assert message.startswith("is 30, but stopping takes 378 s")
    assert "three times 113 s for a save at 1 GB/s" in message
    assert found(plan_of(**arguments | {"grace_period_seconds": 90, "storage_rate": 7.5e9})) == {}


@pytest.mark.parametrize(
    ("node", "overrides", "remedy"),
    [
        ("8xa100-40gb", {"training__zero_stage": 1}, "it fits with training.zero_stage=3"),
        (
            "8xa100-80gb",
            {"training__zero_stage": 2, "training__gradient_checkpointing": "false", "training__batch_size": 8},
            "it fits with training.gradient_checkpointing=true",
        ),
        ("2xa100-40gb", {}, "it fits on 8xa100-40gb"),
        ("1xh200-141gb", {"training__zero_stage": 0}, "it fits on 8xa100-40gb, training.zero_stage=3"),
        ("8xa100-80gb", {"model__num_layers": 140}, "it fits on 16xa100-80gb"),
        ("8xa100-80gb", {"model__num_layers": 2400}, "no node known here holds it; choose a smaller model"),
    ],
)
def test_a_model_that_does_not_fit_is_answered_with_what_makes_it_fit(
    plan_of: Any, node: str, overrides: dict[str, object], remedy: str
) -> None:
    plan = plan_of(node=node, training__save_steps=1, **overrides)
    assert list(found(plan)) == ["--node"]
    assert found(plan)["--node"].endswith(remedy)


def test_bf16_on_a_gpu_without_it_is_refused(plan_of: Any) -> None:
    plan = plan_of("nano", "8xv100-32gb", num_examples=10_000, training__save_steps=20)
    assert found(plan) == {"training.bf16": "is true, and v100-32gb has no bf16; set bf16=false and fp16=true"}


def test_fp16_on_cpu_is_refused(plan_of: Any) -> None:
    plan = plan_of("nano", "cpu", num_examples=10_000, training__bf16="false", training__fp16="true")
    assert list(found(plan)) == ["training.fp16"]


def test_fp16_cannot_be_configured_without_a_loss_scale() -> None:
    training = load_run_config("8b", {"training.bf16": "false", "training.fp16": "true"}).training
    assert deepspeed_config(training)["fp16"]["loss_scale"] == 0  # dynamic


@pytest.mark.parametrize(
    ("node", "overrides", "note"),
    [
        ("8xa100-40gb", {}, "from scratch: 20.48 M tokens an epoch, where 8.07 B parameters want 161.40 B"),
        ("8xa100-40gb", {"training__bf16": "false", "training__fp16": "true"}, "a100-40gb has bf16"),
        ("8xa100-40gb", {"model__vocab_size": 128_513}, "model.vocab_size 128,513 is no multiple of 64"),
        ("16xa100-40gb", {}, "2 machines"),
        ("1xh200-141gb", {}, "tight: "),
        ("8xv100-32gb", {}, "no time: no published utilisation of v100-32gb was found"),
        ("8xa100-40gb", {"training__gradient_accumulation_steps": 2000}, "lower training.gradient_accumulation_steps"),
    ],
)
def test_what_would_surprise_is_noted(plan_of: Any, node: str, overrides: dict[str, object], note: str) -> None:
    assert any(note in line for line in notes(plan_of(node=node, **overrides)))


def test_a_pretrained_backbone_is_not_told_to_learn_a_language(plan_of: Any) -> None:
    assert notes(plan_of("llama_3_1_8b")) == []
