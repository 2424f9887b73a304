"""Check a server's audit log: that no record was changed, added or taken away.

    promethios audit verify audit.jsonl                    # says the first line that is not what was written
    promethios audit verify audit.jsonl.1 audit.jsonl      # one chain over rotated files, oldest first
    promethios audit verify audit.jsonl --holds HASH       # a record that the server's log named must be among them

Exit code: 0 when the chain holds, 1 when it does not, 2 for a file that cannot be read.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from promethios.cli import run_command

_CHECK: Final = "promethios_serving.audit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("action", choices=("verify",), help="what to do")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="the log's files, oldest first")
    parser.add_argument("--holds", metavar="HASH", help="hash of a record, noted elsewhere, that must be among them")


def run(args: argparse.Namespace) -> int:
    """Check the files; returns the exit code."""
    holds = ["--holds", args.holds] if args.holds is not None else []
    command = [sys.executable, "-m", _CHECK, *holds, "--", *map(str, args.files)]
    return subprocess.run(command, check=False).returncode


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
