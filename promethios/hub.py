"""Run the hub: the queue of reviews and its console, telemetry from outside, experiments.

    promethios hub                                                        # an SQLite file, on this machine only
    promethios hub --database postgresql://hub@db/hub --access_file access.yaml --host 0.0.0.0
    promethios hub migrate --database postgresql://hub@db/hub             # bring its tables to this version, and end

The hub brings its database to this version when it starts, so `migrate` is for those who want it done before. More
settings are environment variables: see serving/promethios_hub/README.md. A password belongs there, not on a command
line that everybody on the machine can read: PROMETHIOS_HUB_DATABASE_URL.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from promethios.cli import run_command
from promethios.errors import ServingError

_HUB: Final = "promethios_hub"
_NEEDS: Final = ("aiosqlite", "alembic", "fastapi", "jinja2", "sqlalchemy", "uvicorn")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "action", nargs="?", choices=("serve", "migrate"), default="serve", help="migrate: only bring the tables up"
    )
    parser.add_argument(
        "--database", metavar="URL", help="postgresql://... or sqlite:///FILE (default sqlite:///promethios-hub.db)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (default %(default)s)")
    parser.add_argument("--access_file", type=Path, help="YAML file with tenants and API keys (`promethios keys`)")


def run(args: argparse.Namespace) -> int:
    """Become the hub. Raises ServingError when it is not installed; the hub itself checks the settings."""
    missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise ServingError(f"{missing[0]} is not installed; install promethios with its extra hub")
    if not 1 <= args.port <= 65535:
        raise ServingError(f"--port {args.port} is not allowed; 1 to 65535")
    command = [sys.executable, "-m", _HUB, args.action, "--host", args.host, "--port", str(args.port)]
    return os.execve(sys.executable, command, hub_environment(args, os.environ))


def hub_environment(args: argparse.Namespace, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the hub: what is set already, and the options."""
    options = {"PROMETHIOS_HUB_DATABASE_URL": args.database, "PROMETHIOS_HUB_ACCESS_FILE": args.access_file}
    return {**environment, **{name: str(value) for name, value in options.items() if value is not None}}


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
