"""Start a training in a Kubernetes cluster and follow it: an overlay of manifests/, checked before anything is created.

    promethios submit --overlay 8xa100-40gb --image registry.example.org/promethios-train:0.1.0
    promethios submit --overlay cpu-rehearsal --name try-1 --set training.max_steps=20 --dry_run

Ends with the exit code of the training (promethios/training/README.md). Ctrl-C leaves the training running and says
how to come back.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from promethios.cli import EXIT_USER_ERROR, run_command
from promethios.cluster.checks import check
from promethios.cluster.display import follow_shown
from promethios.cluster.job_plan import plan_job, plan_problems, plan_text
from promethios.cluster.jobs import submit
from promethios.cluster.options import add_place_arguments, connect_to_place, place_options
from promethios.cluster.overlay import find_overlay, render
from promethios.cluster.submission import APIS, Submission, prepare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `promethios submit`."""
    parser.add_argument("--overlay", required=True, help="a name in manifests/overlays, or a kustomize folder")
    parser.add_argument("--name", help="of the job, and of its folder on the volume (default: the overlay's)")
    parser.add_argument("--image", metavar="NAME:TAG", help="training image (default: the overlay's)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key of the configuration, for example training.max_steps=50; may be repeated",
    )
    parser.add_argument("--api", choices=APIS, default="pytorchjob", help="what runs it (default: %(default)s)")
    add_place_arguments(parser)
    parser.add_argument("--allow_pending", action="store_true", help="nodes that fit need not be there yet")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--dry_run", action="store_true", help="print the objects and the plan; talk to no cluster")
    ways.add_argument("--detach", action="store_true", help="create the job and do not follow it")


def run(args: argparse.Namespace) -> int:
    """Create the job and follow it; returns its exit code. Raises ClusterError and ConfigError."""
    rendered = render(find_overlay(args.overlay), args.namespace, args.image)
    submission = prepare(rendered, name=args.name, overrides=args.set, api=args.api)
    has_problems = _show_plan(submission)
    if args.dry_run:
        sys.stdout.write(submission.to_yaml())
    if has_problems or args.dry_run:
        return EXIT_USER_ERROR if has_problems else 0
    connection = connect_to_place(args)
    findings = check(connection, submission, allow_pending=args.allow_pending)
    for unknown in findings.unknown:
        sys.stderr.write(f"note: {unknown}\n")
    for problem in findings.problems:
        sys.stderr.write(f"error: {problem}\n")
    if findings.problems:
        return EXIT_USER_ERROR
    submit(connection, submission)
    name = submission.pytorch_job["metadata"]["name"]
    if args.detach:
        sys.stderr.write(f"created; follow it: promethios logs {name} --follow{place_options(args)}\n")
        return 0
    return follow_shown(connection, name, place_options(args))


def _show_plan(submission: Submission) -> bool:
    """Print the plan on stderr; returns whether something speaks against it."""
    plan = plan_job(submission)
    if plan is None:
        sys.stderr.write("note: the configuration is a file in the image, so there is no plan\n")
        return False
    sys.stderr.write(plan_text(plan) + "\n")
    problems = plan_problems(submission, plan)
    for problem in problems:
        sys.stderr.write(f"error: {problem}\n")
    return bool(problems)


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
