"""Live telemetry from a file."""

from __future__ import annotations

from pathlib import Path

from promethios.errors import TelemetryError
from promethios.telemetry.document import read_telemetry_file
from promethios.telemetry.state import GovernanceState
from promethios_serving.telemetry.source import LastGood
from promethios_serving.telemetry.subject import EVERYBODY, Subject

Signature = tuple[int, int, int]


def file_signature(path: Path) -> Signature | None:
    """Return what changes with a file: time, size and inode (a mounted ConfigMap swaps the inode); None without one."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


class FileTelemetry(LastGood):
    """A YAML or JSON file, read again when it changes."""

    name = "file"

    def __init__(self, path: Path) -> None:
        """Read the file once. Raises TelemetryError when it cannot be read: a server does not start on a bad file."""
        super().__init__()
        self.path = path
        self._seen = file_signature(path)
        self.accept(read_telemetry_file(path))

    def state(self, subject: Subject = EVERYBODY) -> GovernanceState | None:
        """Return the state now; looks at the file's metadata and reads it only after a change."""
        signature = file_signature(self.path)
        if signature != self._seen:
            self._seen = signature
            try:
                self.accept(read_telemetry_file(self.path))
            except TelemetryError as error:
                self.fail(str(error))
        return super().state(subject)

    async def refresh(self) -> None:
        """Notice a change while no request comes in."""
        self.state()
