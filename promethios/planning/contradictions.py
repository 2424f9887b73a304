"""What cannot work or would waste a run, and what to change; and what one should know besides."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from promethios.configs.run_config import RunConfig, TrainingSection
from promethios.planning.nodes import SHOWN_NODES, Node, parse_node
from promethios.planning.speed import SMALLEST_PUBLISHED
from promethios.planning.training_plan import Plan, plan_stages
from promethios.planning.units import count, duration, size

TOKENS_PER_PARAMETER: Final = 20
"""To train a language model from scratch (Hoffmann et al., arXiv 2203.15556)."""
TIGHT: Final = 0.05
"""Share of the usable memory: room below it is within the error of the estimate."""
VOCABULARY_MULTIPLE: Final = 64
"""Matrix sides that tensor cores like (NVIDIA, Matrix Multiplication Background)."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """key: the configuration key or option to change. message: what contradicts what, and what to do."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key} {self.message}"


def problems(plan: Plan) -> list[Problem]:
    """Return every contradiction of a plan; a run with any of them should not start."""
    found = (
        *_number_format_problems(plan.config.training, plan.node),
        *_batch_problems(plan),
        *_checkpoint_problems(plan),
        *_memory_problems(plan),
    )
    return [Problem(key=key, message=message) for key, message in found]


def notes(plan: Plan) -> list[str]:
    """Return what is no contradiction but would surprise."""
    model = plan.config.model
    total = sum(plan.parameters.values())
    tokens = plan.workload.tokens
    found = []
    if plan.sequences_per_step > plan.workload.packs:
        found.append(
            f"a step takes {plan.sequences_per_step:,} sequences and an epoch has {plan.workload.packs:,}: lower "
            "training.gradient_accumulation_steps"
        )
    wanted = TOKENS_PER_PARAMETER * total
    if model.from_pretrained is None and tokens < wanted:
        found.append(
            f"from scratch: {count(tokens)} tokens an epoch, where {count(total)} parameters want {count(wanted)} to "
            "learn a language; it learns the form of decisions"
        )
    if plan.node.accelerator.is_gpu:
        found += _gpu_notes(plan, total)
    return found


def _gpu_notes(plan: Plan, total: int) -> Iterator[str]:
    model, training, accelerator = plan.config.model, plan.config.training, plan.node.accelerator
    room, usable = plan.here.room_bytes, plan.here.usable_bytes
    if room is not None and usable is not None and 0 <= room < TIGHT * usable:
        yield f"tight: {size(room)} of room is within the error of the estimate ({TIGHT:.0%})"
    if total < SMALLEST_PUBLISHED:
        yield "no time: published utilisations are of models of 3 B and more, one this small reaches far less"
    elif not accelerator.mfu:
        yield f"no time: no published utilisation of {accelerator.name} was found"
    if accelerator.has_bf16 and not training.bf16:
        yield f"{accelerator.name} has bf16: training.bf16=true is as fast as fp16 and needs no loss scale"
    if model.vocab_size % VOCABULARY_MULTIPLE:
        yield f"model.vocab_size {model.vocab_size:,} is no multiple of {VOCABULARY_MULTIPLE}: slower matrices"
    if plan.node.machines > 1:
        yield f"{plan.node.machines} machines: time and MFU are those of one machine, without the network between them"


def _number_format_problems(training: TrainingSection, node: Node) -> Iterator[tuple[str, str]]:
    if training.bf16 and not node.accelerator.has_bf16:
        yield "training.bf16", f"is true, and {node.accelerator.name} has no bf16; set bf16=false and fp16=true"
    if training.fp16 and not node.accelerator.is_gpu:
        yield "training.fp16", "needs a GPU; set fp16=false, and bf16=true if you like"


def _batch_problems(plan: Plan) -> Iterator[tuple[str, str]]:
    training, stated = plan.config.training, plan.config.training.effective_batch_size
    if stated is None or stated == plan.sequences_per_step:
        return
    each = training.batch_size * plan.node.count
    if stated % each == 0:
        change = f"set gradient_accumulation_steps={stated // each}"
    else:
        change = f"no accumulation gives it: choose a multiple of batch_size x ranks, {each}"
    yield (
        "training.effective_batch_size",
        f"is {stated}, but {training.batch_size} x {training.gradient_accumulation_steps} x {plan.node.count} ranks is "
        f"{plan.sequences_per_step}; {change}",
    )


def _checkpoint_problems(plan: Plan) -> Iterator[tuple[str, str]]:
    training, work = plan.config.training, plan.workload
    for stage in plan.stages:
        if training.save_steps > stage.steps:
            where = f" of the stage {stage.train}" if len(plan.stages) > 1 else ""
            examples = plan.sequences_per_step * work.examples / work.packs
            yield (
                "training.save_steps",
                f"is a checkpoint every {training.save_steps} of {stage.steps} steps{where}; save every "
                f"{max(1, stage.steps // 5)}, or lower training.gradient_accumulation_steps: a step of "
                f"{plan.sequences_per_step:,} sequences is {examples:,.0f} examples",
            )
    grace = plan.request.grace_period_seconds
    if grace is not None and grace < plan.needed_grace_seconds:
        yield (
            "--grace_period_seconds",
            f"is {grace:g}, but stopping takes {plan.needed_grace_seconds} s: the step under way "
            f"{duration(plan.step_seconds or 0)}, three times {duration(plan.save_seconds)} for a save at "
            f"{plan.request.storage_rate / 1e9:g} GB/s (one under way, the last one staged, then "
            "completed), the exit; set terminationGracePeriodSeconds to "
            f"{plan.needed_grace_seconds} or more, or give faster storage with --storage_rate",
        )


def _memory_problems(plan: Plan) -> Iterator[tuple[str, str]]:
    here = plan.here
    if here.fits is not False:
        return
    yield (
        "--node",
        f"{plan.node.name} is too small: a GPU needs {size(here.peak_bytes)} and has {size(here.usable_bytes or 0)} to "
        f"use; {_remedy(plan)}",
    )


def _remedy(plan: Plan) -> str:
    """Return the smallest change that makes the model fit: settings on this node, else another node."""
    settings = _smaller_settings(plan.config.training)
    for number in range(1, len(settings) + 1):
        for chosen in itertools.combinations(settings, number):
            changes = {key: value for group in chosen for key, value in group.items()}
            if _fits(plan, plan.node, changes):
                words = ", ".join(f"training.{key}={str(value).lower()}" for key, value in changes.items())
                return f"it fits with {words}"
    everything = {key: value for group in settings for key, value in group.items()}
    kind = plan.node.accelerator.name
    for name in (*SHOWN_NODES, *(f"{2 * plan.node.count}x{kind}", f"16x{kind}", "16xa100-80gb", "16xh100-80gb")):
        if _fits(plan, parse_node(name), everything):
            words = "".join(f", training.{key}={str(value).lower()}" for key, value in everything.items())
            return f"it fits on {name}{words}"
    return "no node known here holds it; choose a smaller model"


def _smaller_settings(training: TrainingSection) -> list[dict[str, Any]]:
    """Return the settings that would need less memory, the cheapest in speed first."""
    settings: list[dict[str, Any]] = []
    if training.zero_stage < 3:
        settings.append({"zero_stage": 3})
    if not training.gradient_checkpointing:
        settings.append({"gradient_checkpointing": True})
    if training.batch_size > 1:
        accumulation = training.batch_size * training.gradient_accumulation_steps
        settings.append({"batch_size": 1, "gradient_accumulation_steps": accumulation})
    return settings


def _fits(plan: Plan, node: Node, changes: dict[str, Any]) -> bool:
    config: RunConfig = dataclasses.replace(plan.config, training=dataclasses.replace(plan.config.training, **changes))
    peak = max(stage.memory.peak for stage in plan_stages(config, node, plan.workload))
    return node.usable_bytes is not None and peak <= (1 - TIGHT) * node.usable_bytes
