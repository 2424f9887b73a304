"""Check governance telemetry and show how the model will read it.

    promethios tags '<gov:trust=0.72><gov:emotion=FOCUSED;age=12>' --domain healthcare
    promethios tags --telemetry 'trust=0.3,emotion=ANXIOUS;age=40'
    cat telemetry.txt | promethios tags

Prints the canonical tags, the state as JSON, the stale and the missing channels, whether the telemetry vouches for too
little, and the tokens of the header. Malformed telemetry ends with exit code 2 and says where and why.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from promethios.cli import run_command
from promethios.errors import TelemetryError
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.header import HeaderDomain, header_tokens
from promethios.telemetry.state import GovernanceState, stale_level
from promethios.telemetry.tags import MAX_TEXT, parse, parse_assignments, render


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `promethios tags`."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument("tags", nargs="?", metavar="TAGS", help="telemetry as tags; read from stdin when absent")
    source.add_argument("--telemetry", metavar="NAME=VALUE,...", help="telemetry in the short form: trust=0.3,...")
    parser.add_argument("--domain", metavar="NAME", help="domain of the request, as the ontology names it")


def run(args: argparse.Namespace) -> int:
    """Print what the telemetry means. Raises TelemetryError, and ConfigError for an unknown domain."""
    state = _read_state(args)
    domain = load_ontology().domain(args.domain).header if args.domain else None
    sys.stdout.write(describe(state, domain))
    return 0


def describe(state: GovernanceState, domain: HeaderDomain | None) -> str:
    """Return a state in words, one property a line."""
    stale = [
        f"{channel.name} (level {level})"
        for channel, reading in state
        if reading and (level := stale_level(channel, reading))
    ]
    missing = [channel.name for channel, reading in state if reading is None]
    lines = {
        "tags": render(state),
        "state": json.dumps(state.to_mapping()),
        "stale": ", ".join(stale),
        "missing": ", ".join(missing),
        "degraded": "yes: the model will be more careful" if state.is_degraded() else "no",
        "header": " ".join(header_tokens(state, domain)),
    }
    return "".join(f"{name:<10}{value or '-'}\n" for name, value in lines.items())


def _read_state(args: argparse.Namespace) -> GovernanceState:
    if args.telemetry is not None:
        return parse_assignments(args.telemetry)
    if args.tags is not None:
        return parse(args.tags)
    if sys.stdin.isatty():
        raise TelemetryError("no telemetry; give tags, --telemetry trust=0.3,... or tags on stdin")
    return parse(sys.stdin.buffer.read(MAX_TEXT + 1))


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
