"""Turn reviewers' records into training data.

    promethios feedback export --records hub/reviews.jsonl --output_dir data/feedback
    promethios feedback export --hub http://127.0.0.1:8080 --output_dir data/feedback

Writes examples for `promethios train --feedback_dir` and preferences for `promethios align --feedback_dir`. The format
of the records is in promethios/data/README.md. A hub gives all settled reviews whose content it still has.
"""

from __future__ import annotations

import argparse
import http.client
import io
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from promethios.cli import run_command
from promethios.data.feedback import DPO, KTO, SUPERVISED, feedback_contents, write_feedback
from promethios.data.feedback_records import FeedbackRecord, latest_reviews, parse_records, read_records
from promethios.errors import ConfigError, ServingError

_HUB_TIMEOUT_S: Final = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("action", choices=("export",), help="export: write training data from records")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--records", type=Path, nargs="+", metavar="FILE", help="records, JSON lines")
    source.add_argument("--hub", metavar="URL", help="instead: a hub, which gives its settled reviews")
    parser.add_argument(
        "--hub_key_env",
        metavar="NAME",
        default="PROMETHIOS_HUB_KEY",
        help="environment variable with an API key of scope admin (default %(default)s; a hub without keys needs none)",
    )
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for the training data")
    parser.add_argument(
        "--audit_rate", type=float, help="propensity of audited answers whose record does not say it, above 0, up to 1"
    )


def run(args: argparse.Namespace) -> int:
    """Write the feedback folder and say what is in it; returns 0."""
    if args.audit_rate is not None and not 0 < args.audit_rate <= 1:
        raise ConfigError(f"--audit_rate {args.audit_rate}: give a share above 0 and up to 1")
    records = read_records(args.records) if args.hub is None else read_hub(args.hub, os.environ.get(args.hub_key_env))
    reviewed = latest_reviews(records)
    contents = feedback_contents(reviewed, args.audit_rate)
    write_feedback(args.output_dir, contents)
    counts = ", ".join(f"{contents[name].count(chr(10))} in {name}" for name in (SUPERVISED, KTO, DPO))
    sys.stdout.write(
        f"{len(records)} records, {len(reviewed)} reviewed answers: {counts}\n"
        f"written to {args.output_dir}; what it holds is in its README.md\n"
    )
    return 0


def read_hub(url: str, key: str | None) -> list[FeedbackRecord]:
    """Return the settled reviews of a hub. Raises ConfigError for what is no URL, ServingError when the hub refuses."""
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"--hub {url!r}: give an http:// or https:// URL")
    request = urllib.request.Request(f"{url.rstrip('/')}/v1/feedback/records")
    if key:
        request.add_header("authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=_HUB_TIMEOUT_S) as reply:
            text = reply.read().decode()
    except urllib.error.HTTPError as error:
        said = error.read(500).decode(errors="replace")
        raise ServingError(f"--hub {url}: HTTP status {error.code}: {said}; it needs a key of scope admin") from None
    except (OSError, http.client.HTTPException) as error:
        raise ServingError(f"--hub {url} does not answer: {getattr(error, 'reason', error)}") from None
    return parse_records(io.StringIO(text), url)


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
