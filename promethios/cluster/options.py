"""The options that every verb about a cluster has."""

from __future__ import annotations

import argparse
import sys

from promethios.cluster.connection import DEFAULT_NAMESPACE, Connection, connect


def add_place_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--context` and `--namespace`."""
    parser.add_argument("--context", help="of the kubeconfig (default: its current one)")
    parser.add_argument("--namespace", default=DEFAULT_NAMESPACE, help="of the training (default: %(default)s)")


def connect_to_place(args: argparse.Namespace) -> Connection:
    """Connect and say on stderr where to. Raises ClusterError."""
    connection = connect(args.context, args.namespace)
    sys.stderr.write(f"{connection.where}\n")
    return connection


def place_options(args: argparse.Namespace) -> str:
    """Return the options that lead another command to the same place, with a leading space; empty for the defaults."""
    given = {"--context": args.context, "--namespace": args.namespace}
    defaults = {"--context": None, "--namespace": DEFAULT_NAMESPACE}
    return "".join(f" {option} {value}" for option, value in given.items() if value != defaults[option])
