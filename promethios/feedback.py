"""Turn reviewers' records into training data.

    promethios feedback export --records hub/reviews.jsonl --output_dir data/feedback

Writes examples for `promethios train --feedback_dir` and preferences for `promethios align --feedback_dir`. The format
of the records is in promethios/data/README.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from promethios.cli import run_command
from promethios.data.feedback import (
    DPO,
    KTO,
    SUPERVISED,
    feedback_contents,
    latest_reviews,
    read_records,
    write_feedback,
)
from promethios.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("action", choices=("export",), help="export: write training data from records")
    parser.add_argument("--records", type=Path, nargs="+", required=True, metavar="FILE", help="records, JSON lines")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for the training data")
    parser.add_argument(
        "--audit_rate", type=float, help="propensity of audited answers whose record does not say it, above 0, up to 1"
    )


def run(args: argparse.Namespace) -> int:
    """Write the feedback folder and say what is in it; returns 0."""
    if args.audit_rate is not None and not 0 < args.audit_rate <= 1:
        raise ConfigError(f"--audit_rate {args.audit_rate}: give a share above 0 and up to 1")
    records = read_records(args.records)
    reviewed = latest_reviews(records)
    contents = feedback_contents(reviewed, args.audit_rate)
    write_feedback(args.output_dir, contents)
    counts = ", ".join(f"{contents[name].count(chr(10))} in {name}" for name in (SUPERVISED, KTO, DPO))
    sys.stdout.write(
        f"{len(records)} records, {len(reviewed)} reviewed answers: {counts}\n"
        f"written to {args.output_dir}; what it holds is in its README.md\n"
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
