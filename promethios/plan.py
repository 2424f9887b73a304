"""Say what a training will need, before it is paid for: memory, steps, checkpoints, hours, cost. Needs no torch.

    promethios plan --config 8b --node 8xa100-40gb
    promethios plan --config 8b --data_dir data/governance --grace_period_seconds 300 --price_per_hour 22 --json

Sizes are in GB of 10^9 bytes; Gi is what Kubernetes means by it. `planning/README.md` documents the model behind the
numbers. Contradictions end with exit code 2 and say what to change.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from promethios.cli import EXIT_USER_ERROR, run_command
from promethios.configs.run_config import load_run_config, parse_overrides, preset_names
from promethios.errors import ConfigError
from promethios.planning.console import render
from promethios.planning.contradictions import notes, problems
from promethios.planning.nodes import ACCELERATORS, parse_node
from promethios.planning.training_plan import Request, make_plan, to_mapping
from promethios.planning.workload import DEFAULT_EXAMPLES, dataset_workload, estimated_workload

GB = 1e9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `promethios plan`."""
    parser.add_argument("--config", default="8b", help=f"YAML file, or a preset: {', '.join(preset_names())}")
    parser.add_argument(
        "--node",
        default="8xa100-40gb",
        help=f"COUNTxACCELERATOR (default: %(default)s); accelerators: {', '.join(ACCELERATORS)}",
    )
    data = parser.add_mutually_exclusive_group()
    data.add_argument("--data_dir", type=Path, help="dataset folder; estimated from the generator's means when absent")
    data.add_argument("--num_examples", type=int, default=DEFAULT_EXAMPLES, help="examples (default: %(default)s)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key of the configuration, for example training.zero_stage=3; may be repeated",
    )
    parser.add_argument(
        "--storage_rate", type=float, default=1.0, metavar="GB/S", help="what all ranks together write (default: 1)"
    )
    parser.add_argument(
        "--grace_period_seconds", type=float, metavar="S", help="terminationGracePeriodSeconds of the job's pods"
    )
    parser.add_argument("--price_per_hour", type=float, metavar="PRICE", help="of one machine (8 GPUs)")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the plan; 0, or 2 when it contradicts itself. Raises ConfigError and DatasetError."""
    for name in ("storage_rate", "grace_period_seconds", "price_per_hour"):
        value = getattr(args, name)
        if value is not None and not 0 < value < float("inf"):
            raise ConfigError(f"--{name} {value:g}: must be above 0")
    config = load_run_config(args.config, parse_overrides(args.set))
    node = parse_node(args.node)
    if args.data_dir is None:
        workload = estimated_workload(config.model, config.training, args.num_examples)
    else:
        workload = dataset_workload(config.model, config.training, args.data_dir)
    request = Request(
        storage_rate=args.storage_rate * GB,
        grace_period_seconds=args.grace_period_seconds,
        price_per_hour=args.price_per_hour,
    )
    plan = make_plan(args.config, config, node, workload, request)
    found, known = problems(plan), notes(plan)
    if args.json:
        sys.stdout.write(json.dumps(to_mapping(plan, found, known), indent=1) + "\n")
    else:
        sys.stdout.write(render(plan, known))
    sys.stdout.flush()
    for problem in found:
        sys.stderr.write(f"error: {problem}\n")
    return EXIT_USER_ERROR if found else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
