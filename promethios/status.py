"""Show the trainings in a cluster: state, attempt, step, newest checkpoint; with a name conditions and pods, too.

    promethios status
    promethios status gov-8b --json

Attempt, step and checkpoint are what the logs and last words of the pods that are there say.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence

from promethios.cli import run_command
from promethios.cluster.console import details, table, utc_now
from promethios.cluster.jobs import get_job, list_jobs
from promethios.cluster.options import add_place_arguments, connect_to_place
from promethios.cluster.report import report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `promethios status`."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="only this training, in detail")
    add_place_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON list")


def run(args: argparse.Namespace) -> int:
    """Print the trainings; returns 0. Raises ClusterError."""
    connection = connect_to_place(args)
    jobs = list_jobs(connection) if args.name is None else [get_job(connection, args.name)]
    reports = [report(connection, job) for job in jobs]
    if args.json:
        sys.stdout.write(json.dumps([dataclasses.asdict(each) for each in reports], indent=1) + "\n")
        return 0
    if not reports:
        sys.stdout.write("no trainings\n")
        return 0
    sys.stdout.write(table(reports, utc_now()))
    if args.name is not None:
        sys.stdout.write(details(reports[0]))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
