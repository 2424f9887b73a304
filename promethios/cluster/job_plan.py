"""What `promethios plan` says of a rendered job: same configuration, settings, ranks, grace period and volume."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kubernetes.utils.quantity import parse_quantity

from promethios.cluster.connection import Object
from promethios.cluster.submission import Submission, containers, pod_specs
from promethios.configs.run_config import load_run_config, parse_overrides, preset_names
from promethios.errors import ClusterError, ConfigError
from promethios.planning.console import render
from promethios.planning.contradictions import notes, problems
from promethios.planning.nodes import parse_node
from promethios.planning.training_plan import Plan, Request, make_plan
from promethios.planning.units import size
from promethios.planning.workload import DEFAULT_EXAMPLES, estimated_workload

NODE_ANNOTATION: Final = "promethios/node"
GPU: Final = "nvidia.com/gpu"
STORAGE_RATE: Final = 1e9
"""Bytes a second that all ranks together write, as `promethios plan` assumes without --storage_rate."""


def plan_job(submission: Submission) -> Plan | None:
    """Return the plan of a job; None when only the image has its configuration. Raises ClusterError and ConfigError."""
    job, settings = submission.pytorch_job, submission.settings
    name = settings.get("PROMETHIOS_CONFIG", "8b")
    if name not in preset_names() and not Path(name).is_file():
        return None
    config = load_run_config(name, parse_overrides(_overrides(next(containers(job)).get("args", []))))
    examples = _number(settings, "PROMETHIOS_NUM_EXAMPLES", DEFAULT_EXAMPLES)
    grace = min(pod.get("terminationGracePeriodSeconds", 30) for _, pod in pod_specs(job))
    return make_plan(
        name,
        config,
        parse_node(_node(job)),
        estimated_workload(config.model, config.training, examples),
        Request(storage_rate=STORAGE_RATE, grace_period_seconds=grace),
    )


def plan_problems(submission: Submission, plan: Plan) -> list[str]:
    """Return what speaks against starting the job: the plan's contradictions, and a volume that is too small."""
    found = [str(problem) for problem in problems(plan)]
    sizes = [volume_bytes(each) for each in submission.supporting if each["kind"] == "PersistentVolumeClaim"]
    if sizes and max(sizes) < plan.volume_bytes:
        found.append(
            f"the volume claim asks for {size(max(sizes))}, and the checkpoints need {size(plan.volume_bytes)}; raise "
            "its storage request"
        )
    return found


def plan_text(plan: Plan) -> str:
    """Return the plan for people, as `promethios plan` prints it."""
    return render(plan, notes(plan))


def volume_bytes(claim: Object) -> int:
    """Return what a volume claim asks for."""
    return int(parse_quantity(claim["spec"]["resources"]["requests"]["storage"]))


def _node(job: Object) -> str:
    """Return COUNTxACCELERATOR: as many as the job has ranks, of the kind that its annotation names."""
    try:
        processes = int(job["spec"].get("nprocPerNode", "1"))
    except ValueError:
        raise ClusterError(f"nprocPerNode {job['spec']['nprocPerNode']}: give a number, which can be planned") from None
    for container in containers(job):
        gpus = int(container.get("resources", {}).get("limits", {}).get(GPU, 0))
        if gpus not in (0, processes):
            raise ClusterError(f"nprocPerNode is {processes}, but the limit of {GPU} is {gpus}; make them equal")
    annotated = job["metadata"].get("annotations", {}).get(NODE_ANNOTATION)
    if annotated is None:
        raise ClusterError(
            f"the job has no annotation {NODE_ANNOTATION}; say there what it runs on, for example 8xa100-40gb, so that "
            "it can be planned"
        )
    ranks = processes * sum(number for number, _ in pod_specs(job))
    return f"{ranks}x{parse_node(annotated).accelerator.name}"


def _overrides(args: Sequence[str]) -> list[str]:
    """Return the values of `--set` in the arguments of a training."""
    following = [value for flag, value in itertools.pairwise(args) if flag == "--set"]
    return following + [each.removeprefix("--set=") for each in args if each.startswith("--set=")]


def _number(settings: dict[str, str], key: str, default: int) -> int:
    try:
        return int(settings.get(key, default))
    except ValueError:
        raise ConfigError(f"{key}={settings[key]}: must be a whole number") from None
