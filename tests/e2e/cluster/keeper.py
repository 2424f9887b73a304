"""Parent of a cluster's namespaces, outside them: brings them up, and removes every trace when its owner is gone.

Started by cluster.py as `python keeper.py SPEC [OWNER_FD]`; uses only the standard library. The owner holds the other
end of the pipe OWNER_FD: however the owner ends, kill -9 included, the kernel closes it and the cluster comes down.
Without OWNER_FD the cluster stays until SIGTERM. SPEC is supervisor.py's, and besides:
  state       folder of everything the cluster writes; removed at the end
  cable       {device, address} of the machine's end of the cluster's network
  cgroup      name of the cluster's folder in every cgroup v1 controller; "" when no pods run
  exclusive   a folder that only one cluster may use at a time, or ""
Prints "up" when the namespaces are there, or what is wrong.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any, NoReturn

CGROUPS = Path("/sys/fs/cgroup")
NAMESPACES = ("--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--propagation", "private")


def main() -> int:
    spec = json.loads(Path(sys.argv[1]).read_text())
    state = Path(spec["state"])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's to handle
    lock = (state / "keeper.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)  # held as long as we live: remove_stale() looks at it
    (state / "keeper.pid").write_text(str(os.getpid()))
    store = None
    try:
        store = claim(spec["exclusive"])
        make_cgroups(spec["cgroup"])
        # Should we be killed with -9 ourselves, the kernel still kills the cluster's processes.
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES, sys.executable, "-I"]
        with (state / "supervisor.log").open("w") as log:
            unshare = subprocess.Popen(
                [*command, str(Path(__file__).with_name("supervisor.py")), sys.argv[1]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        connect(first_child(unshare), spec["cable"], spec["network"]["device"])
        print("up", flush=True)
        wait_for_owner()
    finally:
        remove(state, spec)
        if store:
            store.close()
    return 0


def claim(folder: str) -> IO[str] | None:
    """Lock what outlives the cluster, until we end."""
    if not folder:
        return None
    lock = Path(folder, ".lock").open("w")  # noqa: SIM115 (open as long as the cluster is up)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fail(f"another cluster uses {folder}; end it first: python -m tests.e2e.cluster down")
    return lock


def fail(message: str) -> NoReturn:
    """Tell the owner, who reads one line."""
    print(f"error: {message}", flush=True)
    sys.exit(2)


def first_child(process: subprocess.Popen[bytes]) -> int:
    """The supervisor's pid as this machine sees it."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (found := children.read_text().split()):
        if process.poll() is not None:
            fail(f"the cluster's namespaces could not be made: unshare ended with {process.returncode}")
        time.sleep(0.02)
    return int(found[0])


def connect(pid: int, cable: dict[str, str], inner: str) -> None:
    device = cable["device"]
    run("ip", "link", "add", device, "type", "veth", "peer", "name", inner, "netns", str(pid))
    run("ip", "address", "add", cable["address"], "dev", device)
    run("ip", "link", "set", device, "up")


def wait_for_owner() -> None:
    if len(sys.argv) > 2:
        os.read(int(sys.argv[2]), 1)  # returns when the last writer is gone
    else:
        while True:
            signal.pause()


def make_cgroups(name: str) -> None:
    for controller in controllers() if name else ():
        (controller / name).mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # start empty, and then take no process
            if (controller / setting).exists():
                (controller / name / setting).write_text((controller / setting).read_text())


def controllers() -> list[Path]:
    """Of cgroup v1; only there a group has `tasks`."""
    return [path for path in CGROUPS.iterdir() if (path / "tasks").exists() and not path.is_symlink()]


def remove(state: Path, spec: dict[str, Any]) -> None:
    """Kill what is left of the namespaces, which takes mounts and network with it, then the cgroups and the state."""
    argument = str(state / "spec.json").encode()
    while victims := [pid for pid in processes() if {b"unshare", argument} <= set(command_line(pid).split(b"\0"))]:
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # and with it, by --kill-child, process 1 of the namespaces
        time.sleep(0.05)
    for cgroup in CGROUPS.glob(f"*/{spec['cgroup']}") if spec["cgroup"] else ():  # runc makes one in `unified`, too
        remove_cgroup(cgroup)
    shutil.rmtree(state, ignore_errors=True)


def processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def remove_cgroup(folder: Path) -> None:
    """Children first; a cgroup whose last process just died may be busy for some milliseconds."""
    for root, _, _ in os.walk(folder, topdown=False):
        for _ in range(100):
            try:
                Path(root).rmdir()
                break
            except OSError:
                time.sleep(0.05)


def remove_stale(states: Path) -> None:
    """What a keeper that was itself killed with -9 left behind."""
    for state in states.iterdir() if states.is_dir() else ():
        spec = state / "spec.json"
        lock_file = state / "keeper.lock"
        if not lock_file.exists():
            continue
        with lock_file.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            remove(state, json.loads(spec.read_text()))


def run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
