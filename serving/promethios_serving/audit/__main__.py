"""Check audit logs: `python -m promethios_serving.audit FILE...`; `promethios audit verify` runs it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from promethios_serving.audit.chain import GENESIS, BrokenChain, Link, verified


def main(argv: Sequence[str] | None = None) -> int:
    """Check one chain over its files; returns 0 when it holds, 1 when it does not, 2 for a file that is not there."""
    parser = argparse.ArgumentParser(prog="promethios audit verify", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="the log's files, oldest first")
    parser.add_argument("--holds", metavar="HASH", help="hash of a record, noted elsewhere, that must be among them")
    args = parser.parse_args(argv)
    try:
        links = list(_links(args.files))
    except OSError as error:
        sys.stderr.write(f"error: {error.filename} cannot be read: {error.strerror}\n")
        return 2
    except BrokenChain as broken:
        sys.stdout.write(f"broken: {broken}\n")
        return 1
    if args.holds is not None and all(link.hash != args.holds for link in links):
        sys.stdout.write(f"broken: no record has the hash {args.holds}: the end was cut off, or all was written anew\n")
        return 1
    sys.stdout.write(_summary(links))
    return 0


def _links(files: Sequence[Path]) -> Iterator[Link]:
    """Yield the links of all files. Raises BrokenChain naming file and line, and OSError."""
    previous: str | None = None
    for file in files:
        with file.open("rb") as lines:
            try:
                for link in verified(lines, previous):
                    previous = link.hash
                    yield link
            except BrokenChain as broken:
                raise BrokenChain(broken.line, f"{file}, line {broken.line} {broken}") from None


def _summary(links: Sequence[Link]) -> str:
    if not links:
        return "holds: no records\n"
    begin = "from the first one on" if links[0].previous == GENESIS else f"from the one after {links[0].previous} on"
    return f"holds: {len(links)} records, {begin}, to {links[-1].hash}\n"


if __name__ == "__main__":
    sys.exit(main())
