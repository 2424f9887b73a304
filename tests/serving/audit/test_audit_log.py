from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promethios.cli import main
from promethios.errors import ConfigError
from promethios_serving.audit.audit_log import AuditLog, AuditLogBroken
from promethios_serving.audit.chain import GENESIS, BrokenChain, sealed, verified

WRITER = """
import sys
from pathlib import Path
from promethios_serving.audit.audit_log import AuditLog
log = AuditLog(Path(sys.argv[1]))
for number in range(10**9):
    print(log.append({"number": number}), flush=True)
"""

Open = Callable[[], AuditLog]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Opens the log of the test as a server would at its start; the one before has ended then."""
    logs: list[AuditLog] = []

    def open_() -> AuditLog:
        for log in logs:
            log.close()
        logs[:] = [AuditLog(path)]
        return logs[0]

    yield open_
    for log in logs:
        log.close()


def hashes(*files: Path) -> list[str]:
    lines = [line for file in files for line in file.read_bytes().splitlines(keepends=True)]
    return [link.hash for link in verified(lines, GENESIS)]


def three_lines() -> list[bytes]:
    lines, head = [], GENESIS
    for number in range(3):
        line, head = sealed({"number": number, "domain": '","previous":"Ü'}, head)
        lines.append(line)
    return lines


@settings(max_examples=300, deadline=None)
@given(st.integers(0, sum(map(len, three_lines())) - 1), st.integers(1, 255))
def test_a_change_of_any_byte_is_found(position: int, difference: int) -> None:
    content = bytearray(b"".join(three_lines()))
    content[position] ^= difference
    with pytest.raises(BrokenChain):
        list(verified(bytes(content).splitlines(keepends=True), GENESIS))


@pytest.mark.parametrize(("kept", "broken_at"), [((1, 2), 1), ((0, 2), 2), ((0, 2, 1), 2), ((0, 0, 1, 2), 2)])
def test_a_line_that_is_missing_moved_or_doubled_is_found(kept: tuple[int, ...], broken_at: int) -> None:
    lines = three_lines()
    with pytest.raises(BrokenChain) as broken:
        list(verified([lines[i] for i in kept], GENESIS))
    assert broken.value.line == broken_at


def test_the_chain_goes_on_when_the_server_starts_again(opened: Open, path: Path) -> None:
    written = [opened().append({"server": number}) for number in range(3)]
    assert hashes(path) == written


def test_the_chain_goes_on_in_a_new_file_when_the_old_one_is_renamed(opened: Open, path: Path) -> None:
    log = opened()
    written = [log.append({"file": 1})]
    first = path.rename(path.with_name("audit.jsonl.2"))
    written.append(log.append({"file": 2}))
    second = path.rename(path.with_name("audit.jsonl.1"))
    written.append(opened().append({"file": 3}))  # renamed while no server ran
    assert hashes(first, second, path) == written


def test_what_a_death_tore_is_taken_back(opened: Open, path: Path) -> None:
    written = [opened().append({"number": 1})]
    with path.open("ab") as file:
        file.write(b'{"number":2,"previ')
    written.append(opened().append({"number": 3}))
    assert hashes(path) == written


def test_a_killed_writer_loses_no_record_that_it_has_acknowledged(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline().strip() for _ in range(500)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += [line.strip() for line in writer.stdout if line.endswith("\n")]
    AuditLog(path).close()
    assert hashes(path)[: len(acknowledged)] == acknowledged


def test_a_full_disk_refuses_and_recovers(opened: Open, path: Path) -> None:
    log = opened()
    written = [log.append({"number": 1})]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))
    try:
        with pytest.raises(AuditLogBroken, match="No space left"):
            log.append({"number": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    written.append(log.append({"number": 3}))
    assert hashes(path) == written


def test_nothing_is_recorded_after_a_failed_sync(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_disk(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    log = opened()
    monkeypatch.setattr(os, "fdatasync", broken_disk)
    deadline = time.monotonic() + 20
    with pytest.raises(AuditLogBroken, match="Input/output error"):
        while time.monotonic() < deadline:
            log.append({})
    with pytest.raises(AuditLogBroken):
        log.append({})


def test_a_second_server_on_the_same_file_does_not_start(opened: Open, path: Path) -> None:
    opened()
    with pytest.raises(ConfigError, match=r"audit\.jsonl cannot be written: another server writes it"):
        AuditLog(path)


@pytest.mark.parametrize("content", ["not a record\n", '{"previous": "x"}\n'])
def test_a_server_does_not_go_on_after_what_is_no_record(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="does not end in an audit record"):
        AuditLog(path)


def test_a_folder_that_is_not_there_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory; change PROMETHIOS_AUDIT_LOG"):
        AuditLog(tmp_path / "missing" / "audit.jsonl")


def test_the_verb_says_that_a_chain_holds_and_where_it_breaks(
    opened: Open, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = opened()
    first, last = log.append({"number": 1}), log.append({"number": 2})
    assert main(["audit", "verify", str(path), "--holds", first]) == 0
    assert capfd.readouterr().out == f"holds: 2 records, from the first one on, to {last}\n"
    path.write_bytes(path.read_bytes().replace(b'"number":2', b'"number":3'))
    assert main(["audit", "verify", str(path)]) == 1
    assert capfd.readouterr().out.startswith(f"broken: {path}, line 2 is not what was written")


def test_the_verb_misses_a_record_whose_end_was_cut_off(
    opened: Open, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = opened()
    log.append({"number": 1})
    size = path.stat().st_size
    last = log.append({"number": 2})
    os.truncate(path, size)
    assert main(["audit", "verify", str(path)]) == 0
    assert main(["audit", "verify", str(path), "--holds", ""]) == 1  # of a variable that was never set
    assert main(["audit", "verify", str(path), "--holds", last]) == 1
    assert f"no record has the hash {last}" in capfd.readouterr().out


def test_the_verb_names_a_file_that_is_not_there(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", str(path)]) == 2
    assert capfd.readouterr().err == f"error: {path} cannot be read: No such file or directory\n"
