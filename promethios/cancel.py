"""Stop a training in a cluster; its checkpoints stay: the job is suspended, so its pods are told to save and end.

    promethios cancel gov-8b

The job itself stays, for `promethios resume`; `kubectl delete` removes it, and its checkpoints stay all the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from promethios.cli import run_command
from promethios.cluster.jobs import cancel, get_job
from promethios.cluster.options import add_place_arguments, connect_to_place, place_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `promethios cancel`."""
    parser.add_argument("name", metavar="NAME", help="of the training")
    add_place_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Suspend the job; returns 0. Raises ClusterError."""
    connection = connect_to_place(args)
    job = get_job(connection, args.name)
    cancel(connection, job)
    sys.stderr.write(
        f"cancelled; its pods save a checkpoint and end. Go on: promethios resume {job.name}{place_options(args)}\n"
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
