"""Of a cluster nothing stays on the machine, however the session that owns it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.e2e.cluster import keeper
from tests.e2e.cluster.cluster import CLUSTERS, missing

pytestmark = pytest.mark.e2e

Owner = tuple[subprocess.Popen[str], Path]
OWNER = """
import sys, time
from tests.e2e.cluster.cluster import Cluster, choose_place
from tests.e2e.cluster.control_plane import Component

place = choose_place("cleanup")
cluster = Cluster(place)
binds = {"/var/lib": str(place.state / "logs")}
cluster.start({"sleeper": Component(["sleep", "86400"])}, binds=binds, pods=True, owned=True)
cluster.wait(lambda: cluster.processes("sleep"), "the component runs")
print(place.state, flush=True)
time.sleep(600)
"""


def traces(state: Path) -> list[str]:
    """What the machine shows of a cluster."""
    number = state.name.rpartition("-")[2]
    found = [str(path) for path in (state, Path(f"/sys/class/net/promethios{number}")) if path.exists()]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/promethios{number}")]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if str(state) in line]
    return found + [str(process) for process in processes_of(state)]


def processes_of(state: Path) -> list[psutil.Process]:
    """Of the keeper, and of the cluster below it."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if process.info["status"] != psutil.STATUS_ZOMBIE and str(state) in " ".join(process.info["cmdline"] or ()):
            found += [process, *process.children(recursive=True)]
    return found


@pytest.fixture
def owner() -> Owner:
    if reason := missing():
        pytest.skip(reason)
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True, cwd=root)
    assert process.stdout
    state = Path(process.stdout.readline().strip())
    assert state.parent == CLUSTERS
    assert len(traces(state)) > 3
    return process, state


def wait_until_gone(state: Path) -> None:
    deadline = time.monotonic() + 30
    while found := traces(state):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_cluster_is_gone_when_its_owner_is_killed(owner: Owner, end: signal.Signals) -> None:
    process, state = owner
    process.send_signal(end)
    process.wait()
    wait_until_gone(state)


def test_what_a_killed_keeper_leaves_is_removed_at_the_next_start(owner: Owner) -> None:
    process, state = owner
    sleepers = [child for child in processes_of(state) if child.name() == "sleep"]
    os.kill(int((state / "keeper.pid").read_text()), signal.SIGKILL)
    psutil.wait_procs(sleepers, timeout=30)
    assert not any(sleeper.is_running() for sleeper in sleepers), "the kernel stops the cluster at once"
    keeper.remove_stale(CLUSTERS)
    wait_until_gone(state)
    process.kill()
    process.wait()
