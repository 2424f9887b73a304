"""Let a cancelled or failed training go on from its newest checkpoint.

    promethios resume gov-8b

A cancelled job is started again; a failed one, which no operator starts again, is deleted and created as it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from promethios.cli import run_command
from promethios.cluster.jobs import get_job, resume
from promethios.cluster.options import add_place_arguments, connect_to_place, place_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `promethios resume`."""
    parser.add_argument("name", metavar="NAME", help="of the training")
    add_place_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Start the job again; returns 0. Raises ClusterError."""
    connection = connect_to_place(args)
    job = get_job(connection, args.name)
    resume(connection, job)
    sys.stderr.write(f"resumed; follow it: promethios logs {job.name} --follow{place_options(args)}\n")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
