"""From a configuration and a node to everything that one wants to know before the run."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Final

from promethios.configs.run_config import Preservation, RunConfig, Stage, TrainingSection
from promethios.planning import storage
from promethios.planning.memory import Memory, training_memory
from promethios.planning.nodes import SHOWN_NODES, Node, parse_node
from promethios.planning.parameters import GOVERNANCE, count_modules, count_trained
from promethios.planning.speed import delivered_flops, flops_per_position, muon_flops
from promethios.planning.workload import Workload, optimizer_steps

SECONDS_PER_HOUR: Final = 3600.0
CHAT_FLOPS: Final = 8 / 6
"""Preservation runs a conversation through the model, forward and backward, and through the backbone, forward."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for beside configuration, node and data.

    storage_rate: bytes a second that all ranks together write. price_per_hour: of one machine, in any currency.
    """

    storage_rate: float
    grace_period_seconds: float | None = None
    price_per_hour: float | None = None


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """One stage: what it trains, its steps, tokens (without padding) and FLOPs, its memory and its checkpoints."""

    train: str
    trained: int
    steps: int
    saves: int
    tokens: float
    flops: float
    memory: Memory
    checkpoint: storage.Checkpoint


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a node makes of the run at one MFU. hours: with the saves. cost: None without a price."""

    mfu: float
    tokens_per_second: float
    hours: float
    cost: float | None


@dataclass(frozen=True, kw_only=True)
class NodePlan:
    """A node's share of the answer. usable_bytes, room_bytes, fits: None where the memory is not known.

    estimates: at the typical and at the best published MFU; none where neither is known or the model does not fit.
    """

    node: str
    peak_bytes: int
    usable_bytes: int | None
    room_bytes: int | None
    fits: bool | None
    estimates: list[Estimate]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The whole plan; README.md explains every field."""

    config_name: str
    config: RunConfig
    node: Node
    request: Request
    workload: Workload
    parameters: dict[str, int]
    sequences_per_step: int
    stages: list[StagePlan]
    volume_bytes: int
    save_seconds: float
    step_seconds: float | None
    needed_grace_seconds: int
    nodes: list[NodePlan]

    @property
    def steps(self) -> int:
        """Optimizer steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def largest(self) -> StagePlan:
        """The stage that needs the most memory."""
        return max(self.stages, key=lambda stage: stage.memory.peak)

    @property
    def here(self) -> NodePlan:
        """The node that was asked for."""
        return next(plan for plan in self.nodes if plan.node == self.node.name)


def make_plan(config_name: str, config: RunConfig, node: Node, workload: Workload, request: Request) -> Plan:
    """Return the plan of a run; `contradictions.problems` says what is wrong with it."""
    training = config.training
    stages = plan_stages(config, node, workload)
    save_seconds = max(stage.checkpoint.full_bytes for stage in stages) / request.storage_rate
    step_seconds = _step_seconds(config, node, stages)
    names = (*SHOWN_NODES, *(() if node.name in SHOWN_NODES else (node.name,)))
    return Plan(
        config_name=config_name,
        config=config,
        node=node,
        request=request,
        workload=workload,
        parameters=count_modules(config.model),
        sequences_per_step=sequences_per_step(training, node),
        stages=stages,
        volume_bytes=storage.volume_bytes(
            training, [stage.checkpoint for stage in stages], backbone=_backbone_parameters(config)
        ),
        save_seconds=save_seconds,
        step_seconds=step_seconds,
        needed_grace_seconds=storage.needed_grace_seconds(step_seconds or 0.0, save_seconds),
        nodes=[_node_plan(config, parse_node(name), workload, request, asked=name == node.name) for name in names],
    )


def sequences_per_step(training: TrainingSection, node: Node) -> int:
    """Return the effective batch: packed sequences in one optimizer step."""
    return training.batch_size * training.gradient_accumulation_steps * node.count


def plan_stages(config: RunConfig, node: Node, workload: Workload) -> list[StagePlan]:
    """Return the plan of each stage; one that trains everything where the configuration names none."""
    return [_stage_plan(config, stage, node, workload) for stage in config.training.stages or [Stage(train="full")]]


def _stage_plan(config: RunConfig, stage: Stage, node: Node, workload: Workload) -> StagePlan:
    model, training = config.model, config.training
    in_memory, trained = count_trained(model, stage.train, stage.lora_rank)
    epochs = stage.epochs or training.epochs
    steps = optimizer_steps(training, workload.packs, node.count, epochs)
    epoch_steps = optimizer_steps(dataclasses.replace(training, max_steps=None), workload.packs, node.count, 1.0)
    chat = _chat_length(config, workload)
    flops = flops_per_position(model, workload.sequence_length, workload.predicted_share, trained / in_memory)
    sequences = workload.packs * steps / epoch_steps
    saved = sum(count_modules(model).values())
    return StagePlan(
        train=stage.train,
        trained=trained,
        steps=steps,
        saves=math.ceil(steps / training.save_steps),
        tokens=sequences * workload.sequence_length * workload.fill,
        flops=flops * sequences * (workload.sequence_length + chat * CHAT_FLOPS)
        + (steps * muon_flops(model) if training.muon_learning_rate is not None else 0.0),
        memory=training_memory(
            model,
            training,
            in_memory=in_memory,
            trained=trained,
            ranks=node.count,
            predicted_share=workload.predicted_share,
            backbone_copy=_backbone_parameters(config) if chat and stage.train == "full" else 0,
            chat_length=chat,
        ),
        checkpoint=storage.checkpoint(training, saved=saved, in_memory=in_memory, trained=trained),
    )


def _chat_length(config: RunConfig, workload: Workload) -> int:
    """Return the tokens of a conversation that preservation compares, 0 without; a file of one's own is not read."""
    preservation = config.training.preservation or Preservation()
    if config.model.from_pretrained is None or preservation.weight == 0:
        return 0
    return min(workload.sequence_length, round(workload.tokens_per_example))


def _backbone_parameters(config: RunConfig) -> int:
    if config.model.from_pretrained is None:
        return 0
    return sum(count for name, count in count_modules(config.model).items() if name not in GOVERNANCE)


def _node_plan(config: RunConfig, node: Node, workload: Workload, request: Request, *, asked: bool) -> NodePlan:
    stages = plan_stages(config, node, workload)
    peak = max(stage.memory.peak for stage in stages)
    usable = node.usable_bytes
    fits = None if usable is None else peak <= usable
    return NodePlan(
        node=node.name,
        peak_bytes=peak,
        usable_bytes=usable,
        room_bytes=None if usable is None else usable - peak,
        fits=fits,
        estimates=[] if fits is False else _estimates(config, node, stages, request, asked=asked),
    )


def _estimates(
    config: RunConfig, node: Node, stages: list[StagePlan], request: Request, *, asked: bool
) -> list[Estimate]:
    saving = sum(stage.saves * stage.checkpoint.full_bytes for stage in stages) / request.storage_rate
    price = request.price_per_hour if asked else None
    found = []
    for mfu, rate in delivered_flops(config.model, node).items():
        seconds = sum(stage.flops for stage in stages) / rate
        hours = (seconds + saving) / SECONDS_PER_HOUR
        found.append(
            Estimate(
                mfu=mfu,
                tokens_per_second=sum(stage.tokens for stage in stages) / seconds,
                hours=hours,
                cost=None if price is None else hours * price * node.machines,
            )
        )
    return found


def _step_seconds(config: RunConfig, node: Node, stages: list[StagePlan]) -> float | None:
    """Return the seconds of the longest optimizer step at the typical MFU; None where no MFU is known."""
    rate = next(iter(delivered_flops(config.model, node).values()), None)
    return None if rate is None else max(stage.flops / stage.steps for stage in stages) / rate


def to_mapping(plan: Plan, problems: list[Any], notes: list[str]) -> dict[str, Any]:
    """Return the plan as plain data for JSON; README.md lists the keys."""
    training, workload, here = plan.config.training, plan.workload, plan.here
    total = sum(plan.parameters.values())
    return {
        "config": plan.config_name,
        "node": plan.node.name,
        "parameters": {
            "total": total,
            "governance": sum(count for name, count in plan.parameters.items() if name in GOVERNANCE),
            "by_module": plan.parameters,
        },
        "data": {**dataclasses.asdict(workload), "fill": workload.fill},
        "schedule": {
            "ranks": plan.node.count,
            "sequences_per_step": plan.sequences_per_step,
            "tokens_per_step": round(plan.sequences_per_step * workload.sequence_length * workload.fill),
            "steps": plan.steps,
            "save_steps": training.save_steps,
            "stages": [
                {"train": stage.train, "trained_parameters": stage.trained, "steps": stage.steps, "saves": stage.saves}
                for stage in plan.stages
            ],
        },
        "memory": {
            **{f"{name}_bytes": value for name, value in dataclasses.asdict(plan.largest.memory).items()},
            "peak_bytes": here.peak_bytes,
            "usable_bytes": here.usable_bytes,
            "room_bytes": here.room_bytes,
            "fits": here.fits,
        },
        "checkpoint": {
            "weights_bytes": plan.largest.checkpoint.weights_bytes,
            "full_bytes": max(stage.checkpoint.full_bytes for stage in plan.stages),
            "kept": training.save_total_limit,
            "volume_bytes": plan.volume_bytes,
            "save_seconds": plan.save_seconds,
            "step_seconds": plan.step_seconds,
            "needed_grace_seconds": plan.needed_grace_seconds,
        },
        "nodes": [dataclasses.asdict(each) for each in plan.nodes],
        "problems": [dataclasses.asdict(problem) for problem in problems],
        "notes": notes,
    }
