"""Process 1 of a cluster's own pid, mount, network, host name and ipc namespaces: keeps its components running.

Started by keeper.py as `unshare ... python supervisor.py SPEC`; uses only the standard library. SPEC is JSON:
  hostname, network {device, address, gateway}
  binds       {target: source}   folders and files that the cluster sees in place of the machine's
  sysctls     [name]             kernel settings that the kubelet writes: it gets private copies
  components  {name: {command, environment}}, logs   folder of their output

A component that ends is started again: the kubelet, for one, gives up when containerd is not there yet. When this
process is killed the kernel kills everything in the namespaces and drops their mounts and devices.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RESTART_SECONDS = 0.5
TMPFS = ("/run", "/tmp")


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text())
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    isolate(spec)
    connect(spec["network"])
    supervise(spec["components"], Path(spec["logs"]))


def isolate(spec: dict[str, Any]) -> None:
    """Mounts of our own. They spread to the pods (rshared), but not to the machine: unshare made us private."""
    run("mount", "--make-rshared", "/")
    run("mount", "-t", "proc", "proc", "/proc")
    for target in TMPFS:
        run("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", target)
    for target, source in spec["binds"].items():
        Path(target).mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", source, target)
    copies = Path("/run/sysctl")
    copies.mkdir()
    for name in spec["sysctls"]:
        setting = Path("/proc/sys") / name
        copy = copies / name.replace("/", "_")
        copy.write_text(setting.read_text())
        run("mount", "--bind", str(copy), str(setting))
    run("hostname", spec["hostname"])


def connect(network: dict[str, str]) -> None:
    """Wait for the keeper to move the cable's end in here, and bring it up."""
    run("ip", "link", "set", "lo", "up")
    while subprocess.run(["ip", "link", "show", network["device"]], capture_output=True, check=False).returncode:
        time.sleep(0.02)
    run("ip", "address", "add", network["address"], "dev", network["device"])
    run("ip", "link", "set", network["device"], "up")
    run("ip", "route", "add", "default", "via", network["gateway"])
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")  # pods route through this namespace


def supervise(components: dict[str, Any], logs: Path) -> None:
    """Start the components, reap every orphan (containerd's shims become our children), start again what ended."""
    names: dict[int, str] = {}
    due = dict.fromkeys(components, 0.0)
    while True:
        for name in [name for name, when in due.items() if when <= time.monotonic()]:
            del due[name]
            names[start(name, components[name], logs)] = name
        signal.sigtimedwait({signal.SIGCHLD}, RESTART_SECONDS / 2)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break
            if name := names.pop(pid, ""):
                with (logs / f"{name}.log").open("a") as log:
                    print(f"=== {name} ended with {os.waitstatus_to_exitcode(status)}, starting again", file=log)
                due[name] = time.monotonic() + RESTART_SECONDS


def start(name: str, component: dict[str, Any], logs: Path) -> int:
    with (logs / f"{name}.log").open("a") as log:
        process = subprocess.Popen(
            component["command"],
            env={**os.environ, **component["environment"]},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, ()),
        )
    process.returncode = 0  # ours to reap, not Popen's
    return process.pid


def run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
