"""Show the log of a training in a cluster, or follow it to the end as `promethios submit` does.

    promethios logs gov-8b
    promethios logs gov-8b --follow

With --follow it ends with the exit code of the training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from promethios.cli import run_command
from promethios.cluster.display import follow_shown
from promethios.cluster.jobs import get_job
from promethios.cluster.options import add_place_arguments, connect_to_place, place_options
from promethios.cluster.pods import container_statuses, log_lines, pods_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `promethios logs`."""
    parser.add_argument("name", metavar="NAME", help="of the training")
    parser.add_argument("--follow", action="store_true", help="go on until the training ends, or Ctrl-C")
    add_place_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the log; returns 0, or with --follow the training's exit code. Raises ClusterError."""
    connection = connect_to_place(args)
    job = get_job(connection, args.name)
    if args.follow:
        return follow_shown(connection, job.name, place_options(args))
    pods = pods_of(connection, job.name)
    for pod in pods:
        prefix = f"[{pod['metadata']['name']}] " if len(pods) > 1 else ""
        for status in container_statuses(pod):
            if "waiting" not in status["state"]:
                sys.stdout.writelines(f"{prefix}{line}\n" for line in log_lines(connection, pod, status["name"]))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
