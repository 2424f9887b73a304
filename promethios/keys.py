"""Make an API key for the access file of engine and hub.

    promethios keys --id acme-app --tenant acme --scopes infer telemetry

Prints the key, which is stored nowhere and shown this once, and the entry with its hash for the access file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import secrets
import sys
from collections.abc import Sequence
from typing import Final

from promethios.cli import run_command
from promethios.errors import ConfigError

_SCOPES: Final = ("infer", "telemetry", "review", "admin", "engine")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""As the access file has it (promethios_serving/access/access_file.py), which no verb imports."""
_PREFIX: Final = "pk-"
"""Lets scanners for leaked secrets find our keys."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--id", required=True, help="name of the key in logs and quotas, such as acme-app")
    parser.add_argument("--tenant", help="tenant of the access file whose policy holds for the key")
    parser.add_argument("--scopes", nargs="+", choices=_SCOPES, default=["infer"], help="what the key may do")


def run(args: argparse.Namespace) -> int:
    """Print a new key on stdout and its entry on stderr; returns 0. Raises ConfigError for a name that is none."""
    key = _PREFIX + secrets.token_urlsafe(32)
    for option, name in (("--id", args.id), ("--tenant", args.tenant)):
        if name is not None and not _NAME.fullmatch(name):
            raise ConfigError(f"{option} {name!r} is not a name: letters, digits, '.', '_' or '-', at most 63 of them")
    tenant = f"tenant: {json.dumps(args.tenant)}, " if args.tenant else ""
    digest = hashlib.sha256(key.encode()).hexdigest()
    entry = f"  - {{id: {json.dumps(args.id)}, sha256: {digest}, {tenant}scopes: [{', '.join(args.scopes)}]}}"
    sys.stderr.write(f"# below `keys:` of the access file:\n{entry}\n# the key, shown this once:\n")
    sys.stdout.write(f"{key}\n")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
