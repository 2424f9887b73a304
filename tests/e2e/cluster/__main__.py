"""A cluster to try things on: python -m tests.e2e.cluster up light|real, then down.

`up` prints the kubeconfig, which also lies at <cache>/promethios-e2e/<kind>.kubeconfig; the cluster stays until `down`.
"""

from __future__ import annotations

import argparse
import os
import signal
import time

from tests.e2e.cluster import binaries, images, keeper, light, real
from tests.e2e.cluster.cluster import CLUSTERS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start a cluster and leave it running")
    up.add_argument("kind", choices=["light", "real"])
    commands.add_parser("down", help="remove every cluster, also what an aborted run left")
    commands.add_parser("build", help="only fill the cache: programs and images")
    words = parser.parse_args()
    if words.command == "up":
        start(words.kind)
    elif words.command == "down":
        stop_all()
    else:
        binaries.build()
        images.built_images()


def start(kind: str) -> None:
    started = time.monotonic()
    up = (light if kind == "light" else real).start(owned=False)
    link = binaries.CACHE / f"{kind}.kubeconfig"
    link.unlink(missing_ok=True)
    link.symlink_to(up.kubeconfig)
    print(f"{kind} is up after {time.monotonic() - started:.1f} s: export KUBECONFIG={link}")


def stop_all() -> None:
    for state in sorted(CLUSTERS.glob("*")) if CLUSTERS.is_dir() else ():
        pid = int((state / "keeper.pid").read_text())
        if pid in keeper.processes() and b"keeper.py" in keeper.command_line(pid):
            os.kill(pid, signal.SIGTERM)
            while state.exists():
                time.sleep(0.05)
    keeper.remove_stale(CLUSTERS)
    for link in binaries.CACHE.glob("*.kubeconfig"):
        link.unlink()


if __name__ == "__main__":
    main()
