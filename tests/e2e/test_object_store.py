"""Checkpoints in a real S3 server (versitygw), and what happens to them when the way to it breaks."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from promethios.checkpoint.manifest import checkpoints, verify, write_manifest
from promethios.checkpoint.object_store import ObjectStore
from promethios.checkpoint.resume import newest_verified
from promethios.checkpoint.saver import CheckpointSaver
from promethios.errors import ConfigError, StoreUnavailableError
from tests.e2e.cluster import binaries

pytestmark = pytest.mark.e2e
MEBIBYTE = 2**20


class Proxy:
    """A TCP proxy that can be told to refuse, or to drop every connection after so many bytes."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.bytes_left: int | None = None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def drop_after(self, num_bytes: int | None) -> None:
        self.bytes_left = num_bytes

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:  # closed at the end of the test
                return
            if self.bytes_left is not None and self.bytes_left <= 0:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.target))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self.bytes_left is not None:
                    self.bytes_left -= len(data)
                    if self.bytes_left <= 0:
                        break
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of an S3 server with one bucket, `bucket`."""
    program = binaries.BIN / "versitygw"
    if not program.exists():
        pytest.skip(f"{program} is not built; make e2e builds it")
    folder = tmp_path_factory.mktemp("s3")
    (folder / "bucket").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {"ROOT_ACCESS_KEY": "key", "ROOT_SECRET_KEY": "secret"}
    process = subprocess.Popen(
        [program, "--port", f"127.0.0.1:{port}", "posix", folder], env=environment, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 30
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            break
        assert process.poll() is None and time.monotonic() < deadline, "the S3 server did not start"
        time.sleep(0.05)
    yield port
    process.kill()
    process.wait()


@pytest.fixture
def proxy(server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The way to the server, which the environment names as an SDK would find it."""
    way = Proxy(server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{way.port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    yield way
    way.listener.close()


@pytest.fixture
def store(proxy: Proxy, tmp_path: Path) -> ObjectStore:
    return ObjectStore(f"s3://bucket/{tmp_path.name}", retry_seconds=1)


@pytest.fixture
def saver(tmp_path: Path, store: ObjectStore) -> CheckpointSaver:
    return CheckpointSaver(tmp_path / "run", keep=2, listener=Silent(), say=lambda text: None, store=store)


class Silent:
    def on_saved(self, step: int, blocking_seconds: float, background_seconds: float, num_bytes: int) -> None: ...

    def on_failed(self, place: str, error: Exception) -> None: ...


def save(saver: CheckpointSaver, step: int, size: int = MEBIBYTE) -> None:
    folder = saver.stage(step)
    (folder / "global_step").mkdir(parents=True)
    (folder / "global_step" / "rank_0.pt").write_bytes(os.urandom(size))
    (folder / "model.safetensors").write_bytes(os.urandom(size))
    saver.complete(step, {"world_size": 1}, blocking_seconds=0)


def write_checkpoint(output_dir: Path, step: int, size: int = MEBIBYTE) -> Path:
    folder = output_dir / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(os.urandom(size))
    write_manifest(folder, {"step": step})
    return folder


def test_saves_are_in_the_bucket_with_the_same_manifest_and_as_many_are_kept(
    tmp_path: Path, saver: CheckpointSaver, store: ObjectStore
) -> None:
    for step in (2, 4, 10):
        save(saver, step)
    saver.close()
    assert store.checkpoints() == ["checkpoint-4", "checkpoint-10"] and store.leftovers() == []
    assert store.manifest("checkpoint-10") == verify(tmp_path / "run" / "checkpoint-10")


@pytest.mark.parametrize("size", [0, 1, 40 * MEBIBYTE])
def test_a_file_of_any_size_comes_back(tmp_path: Path, store: ObjectStore, size: int) -> None:
    store.upload(write_checkpoint(tmp_path / "old", 7, size))
    found = newest_verified(tmp_path / "run", lambda text: None, store)
    assert found is not None and verify(found)["step"] == 7


@pytest.mark.parametrize("num_bytes", [0, 1000, 300_000, 1_500_000])
def test_a_store_lost_at_any_point_of_an_upload_has_what_was_complete_and_gets_the_rest_at_the_next_save(
    tmp_path: Path, saver: CheckpointSaver, store: ObjectStore, proxy: Proxy, num_bytes: int
) -> None:
    save(saver, 2)
    saver.wait()
    proxy.drop_after(num_bytes)
    save(saver, 4)
    saver.close()  # the volume has it, so this is no error
    proxy.drop_after(None)
    assert store.checkpoints() == ["checkpoint-2"]
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["checkpoint-2", "checkpoint-4"]
    save(saver, 6)
    saver.close()
    assert store.checkpoints() == ["checkpoint-4", "checkpoint-6"] and store.leftovers() == []


@pytest.mark.parametrize("num_bytes", [0, 10_000, 5 * MEBIBYTE])
def test_a_store_lost_in_a_download_says_so_and_nothing_half_read_counts(
    tmp_path: Path, store: ObjectStore, proxy: Proxy, num_bytes: int
) -> None:
    store.upload(write_checkpoint(tmp_path / "old", 7, 8 * MEBIBYTE))
    proxy.drop_after(num_bytes)
    with pytest.raises(StoreUnavailableError):
        newest_verified(tmp_path / "run", lambda text: None, store)
    assert checkpoints(tmp_path / "run") == []
    proxy.drop_after(None)
    found = newest_verified(tmp_path / "run", lambda text: None, store)
    assert found is not None and verify(found)["step"] == 7


def test_a_short_break_goes_unnoticed(tmp_path: Path, proxy: Proxy) -> None:
    store = ObjectStore("s3://bucket/short-break", retry_seconds=60)
    proxy.drop_after(300_000)
    mend = threading.Timer(1, proxy.drop_after, [None])
    mend.start()
    store.upload(write_checkpoint(tmp_path, 7))
    assert store.checkpoints() == ["checkpoint-7"]


@pytest.mark.parametrize(
    ("url", "variables"),
    [("s3://no-such-bucket/run", {}), ("s3://bucket/run", {"AWS_SECRET_ACCESS_KEY": "wrong"})],
)
def test_a_store_that_refuses_is_the_users_to_mend_and_no_checkpoint_is_blamed(
    tmp_path: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, url: str, variables: dict[str, str]
) -> None:
    ObjectStore("s3://bucket/run").upload(write_checkpoint(tmp_path / "old", 7))
    with monkeypatch.context() as wrong:
        for name, value in variables.items():
            wrong.setenv(name, value)
        refused: Callable[[], object] = lambda: newest_verified(tmp_path / "run", print, ObjectStore(url))  # noqa: E731
        with pytest.raises(ConfigError, match="mend the URL or the credentials"):
            refused()
    assert ObjectStore("s3://bucket/run").checkpoints() == ["checkpoint-7"]
