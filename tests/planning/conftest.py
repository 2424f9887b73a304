from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from promethios.configs.run_config import RunConfig, load_run_config
from promethios.planning.nodes import parse_node
from promethios.planning.training_plan import Plan, Request, make_plan
from promethios.planning.workload import Workload, estimated_workload

MakePlan = Callable[..., Plan]


@pytest.fixture
def workload() -> Workload:
    """10,000 examples that each fill a sequence of 2,048 positions: the seed's arithmetic."""
    return Workload(
        source="estimate",
        examples=10_000,
        tokens=10_000 * 2048,
        packs=10_000,
        sequence_length=2048,
        predicted_share=0.3,
    )


@pytest.fixture
def plan_of(workload: Workload) -> MakePlan:
    """Plan a preset with overrides on a node."""

    def plan(
        name: str = "8b", node: str = "8xa100-40gb", *, num_examples: int | None = None, **overrides: object
    ) -> Plan:
        request: dict[str, Any] = {"storage_rate": 1e9}
        for key in ("storage_rate", "grace_period_seconds", "price_per_hour"):
            if key in overrides:
                request[key] = overrides.pop(key)
        if num_examples is None:
            # One example a sequence, as the seed counts: its effective batch of 256 on 8 GPUs.
            overrides = {"training__gradient_accumulation_steps": 32} | overrides
        config = preset(name, **overrides)
        work = workload if num_examples is None else estimated_workload(config.model, config.training, num_examples)
        return make_plan(name, config, parse_node(node), work, Request(**request))

    return plan


def preset(name: str, **overrides: object) -> RunConfig:
    """Load a preset; `training__save_steps=5` overrides training.save_steps."""
    return load_run_config(name, {key.replace("__", "."): str(value) for key, value in overrides.items()})
