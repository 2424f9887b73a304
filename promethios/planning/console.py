"""The plan as aligned text for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from promethios.planning.storage import GIB
from promethios.planning.training_plan import SECONDS_PER_HOUR, NodePlan, Plan
from promethios.planning.units import count, duration, size

LABEL_WIDTH: Final = 26


def render(plan: Plan, notes: Sequence[str]) -> str:
    """Return the plan in sections of aligned lines."""
    sections = (
        (f"{plan.config_name} on {plan.node.name}", _model(plan)),
        ("data", _data(plan)),
        ("run", _run(plan)),
        (f"memory of one {_rank(plan)}", _memory(plan)),
        ("checkpoints", _checkpoints(plan)),
        (f"nodes, at a typical / the best published MFU; time with {_saves(plan)}", _nodes(plan)),
        ("notes", iter(f"  {note}" for note in notes)),
    )
    return "\n\n".join("\n".join((title, *lines)) for title, body in sections if (lines := list(body))) + "\n"


def _line(label: str, value: str, remark: str = "") -> str:
    return f"  {label:<{LABEL_WIDTH}}{value:>12}  {remark}".rstrip()


def _rank(plan: Plan) -> str:
    return "GPU" if plan.node.accelerator.is_gpu else "process"


def _model(plan: Plan) -> Iterator[str]:
    total = sum(plan.parameters.values())
    start = plan.config.model.from_pretrained
    yield _line("parameters", count(total), f"from {start}" if start else "from scratch")
    for name, number in plan.parameters.items():
        yield _line(f"  {name}", count(number), f"{100 * number / total:5.1f} %")


def _data(plan: Plan) -> Iterator[str]:
    work = plan.workload
    source = "an estimate; --data_dir counts" if work.source == "estimate" else f"counted in {work.source}"
    yield _line("examples", f"{work.examples:,}", source)
    yield _line(
        "tokens an epoch", count(work.tokens), f"{work.tokens_per_example:.0f} an example, with twins and headers alone"
    )
    yield _line("packs", f"{work.packs:,}", f"of {work.sequence_length:,} tokens, {100 * work.fill:.0f} % full")


def _run(plan: Plan) -> Iterator[str]:
    training, work = plan.config.training, plan.workload
    examples = plan.sequences_per_step * work.examples / work.packs
    ranks = "GPUs" if plan.node.accelerator.is_gpu else "processes"
    factors = f"{training.batch_size} x {training.gradient_accumulation_steps} x {plan.node.count} {ranks}"
    yield _line("sequences a step", f"{plan.sequences_per_step:,}", f"= {factors}; about {examples:,.0f} examples")
    for stage in plan.stages:
        label = f"steps, {stage.train}" if len(plan.stages) > 1 else "optimizer steps"
        yield _line(
            label, f"{stage.steps:,}", f"{count(stage.trained)} parameters move; saved every {training.save_steps}"
        )
    if plan.step_seconds is not None:
        yield _line("one step", duration(plan.step_seconds))


def _saves(plan: Plan) -> str:
    saves = sum(stage.saves for stage in plan.stages)
    return f"{saves} saves that training waits for" if saves > 1 else "one save"


def _memory(plan: Plan) -> Iterator[str]:
    memory, training, here = plan.largest.memory, plan.config.training, plan.here
    checkpointing = "checkpointed: each layer's input" if training.gradient_checkpointing else "no checkpointing"
    rows = (
        ("parameters", memory.parameters, "sharded" if training.zero_stage == 3 else ""),
        ("gradients", memory.gradients, "sharded" if training.zero_stage >= 2 else ""),
        ("optimizer states", memory.optimizer, "sharded" if training.zero_stage >= 1 else ""),
        ("frozen backbone", memory.backbone_copy, "for preservation"),
        ("DeepSpeed buffers", memory.buffers, f"ZeRO-{training.zero_stage}" if training.zero_stage else "all-reduce"),
        ("activations", memory.activations, checkpointing),
        ("one layer, backward", memory.one_layer, "or logits, whichever is more"),
        ("logits", memory.logits, f"of {100 * plan.workload.predicted_share:.0f} % of the positions"),
        ("copies in the step", memory.step_copies, "instead of the activations, logits and buffers"),
    )
    for label, taken, remark in rows:
        if taken:
            yield _line(label, size(taken), remark)
    yield _line("peak", size(memory.peak), _verdict(here))


def _verdict(node: NodePlan) -> str:
    if node.room_bytes is None or node.usable_bytes is None:
        return ""
    usable = f"{size(node.usable_bytes)} usable"
    if node.room_bytes < 0:
        return f"DOES NOT FIT: {size(-node.room_bytes)} more than {usable}"
    return f"fits: {size(node.room_bytes)} of room, {usable}"


def _checkpoints(plan: Plan) -> Iterator[str]:
    full = max(stage.checkpoint.full_bytes for stage in plan.stages)
    kept = plan.config.training.save_total_limit
    yield _line("weights", size(plan.largest.checkpoint.weights_bytes))
    yield _line("full checkpoint", size(full), "with optimizer states")
    yield _line("volume (PVC)", f"{plan.volume_bytes // GIB:,} Gi", f"{kept} kept, one being written, the result, 10 %")
    yield _line("save", duration(plan.save_seconds), f"at {plan.request.storage_rate / 1e9:g} GB/s, all ranks together")
    given = plan.request.grace_period_seconds
    remark = "finish the step, save, exit; Kubernetes' default is 30 s" if given is None else f"of {given:g} s given"
    yield _line("grace period needed", f"{plan.needed_grace_seconds} s", remark)


def _nodes(plan: Plan) -> Iterator[str]:
    rows = [("", "peak", "room", "MFU", "tokens/s", "time", "cost"), *(_node_cells(node) for node in plan.nodes)]
    if plan.request.price_per_hour is None:
        rows = [row[:-1] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        yield "  ".join((f"  {row[0]:<{widths[0]}}", *cells)).rstrip()


def _node_cells(node: NodePlan) -> tuple[str, ...]:
    room = "-" if node.room_bytes is None else "too small" if node.room_bytes < 0 else size(node.room_bytes)
    known = node.estimates
    return (
        node.node,
        size(node.peak_bytes),
        room,
        _both([f"{each.mfu:.2f}" for each in known] if len(known) > 1 else []),
        _both([f"{each.tokens_per_second:,.0f}" for each in known]),
        _both([duration(each.hours * SECONDS_PER_HOUR) for each in known]),
        _both([f"{each.cost:,.2f}" for each in known if each.cost is not None]),
    )


def _both(texts: Sequence[str]) -> str:
    return " / ".join(dict.fromkeys(texts)) or "-"
