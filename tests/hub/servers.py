"""Real servers for the hub's tests and for bench/hub.py: PostgreSQL in its own folder, and the hub as a process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_WAIT_S: Final = 60.0


def postgresql_programs() -> Path | None:
    """Return the folder with PostgreSQL's programs, or None where it is not installed."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in reversed(folders) if (folder / "initdb").is_file()), None)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class PostgresqlServer:
    """A PostgreSQL server with durable writes (its defaults), in a folder that `stop` removes."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        # not pytest's folder: only its owner may look into that, and root is not who runs PostgreSQL
        self._folder = Path(tempfile.mkdtemp(prefix="promethios-postgresql-"))
        self.port = free_port()
        # PostgreSQL refuses to run as root, so root runs it as the user that its package makes.
        self._as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as_user:
            shutil.chown(self._folder, "postgres")
        self._run("initdb", "--pgdata", str(self._folder), "--username", "hub", "--auth", "trust", "--encoding", "UTF8")

    @property
    def url(self) -> str:
        return f"postgresql://hub@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start, after a kill as well: then it recovers first."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder}"
        deadline = time.monotonic() + _WAIT_S
        while True:
            try:
                log = str(self._folder / "server.log")
                return self._run("pg_ctl", "-D", str(self._folder), "-w", "-l", log, "-o", options, "start")
            except subprocess.CalledProcessError:  # the killed server's children still hold its memory
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def kill(self) -> None:
        """Kill it as the machine's end would: no shutdown, no checkpoint."""
        pid = int((self._folder / "postmaster.pid").read_text(encoding="ascii").split()[0])
        os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        subprocess.run(
            [*self._as_user, str(self._programs / "pg_ctl"), "-D", str(self._folder), "-m", "immediate", "stop"],
            check=False,
            capture_output=True,
            cwd="/",
        )
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self._programs / program), *arguments]
        # a server that inherits a pipe would keep it open for ever
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")


class HubProcess:
    """The hub as users start it, but for the log: a file."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {**os.environ, **environment, "PYTHONPATH": f"{ROOT}:{ROOT / 'serving'}"}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "promethios_hub", "--port", str(self.port)]
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        deadline = time.monotonic() + _WAIT_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the hub did not start:\n{self._log.read_text(encoding='utf-8')[-3000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=30)

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=2) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False
