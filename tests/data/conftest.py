"""A whole dataset, generated once, and larger samples of the world behind it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from promethios.data.example import Example, read_examples
from promethios.data.folder import CEILINGS, SPLITS, split_path
from promethios.data.mixture import Candidates, Split
from promethios.data.splits import open_split
from promethios.ontology.governance_ontology import Ontology, load_ontology
from promethios.user_friendly_governance_training_generator import main as generate


@pytest.fixture(scope="session")
def ontology() -> Ontology:
    return load_ontology()


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full") / "dataset"
    assert generate(["--output_dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def dataset(dataset_folder: Path) -> Mapping[str, list[Example]]:
    return {split: read_examples(split_path(dataset_folder, split)) for split in SPLITS}


@pytest.fixture(scope="session")
def every_example(dataset: Mapping[str, list[Example]]) -> list[Example]:
    return [example for examples in dataset.values() for example in examples]


@pytest.fixture(scope="session")
def measured(dataset_folder: Path) -> dict[str, Any]:
    """What the dataset's ceilings.json says."""
    return dict(json.loads((dataset_folder / CEILINGS).read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def fields(dataset_folder: Path) -> dict[str, Any]:
    """One line of the dataset, as plain data to spoil."""
    first_line = split_path(dataset_folder, "train").read_text(encoding="utf-8").split("\n", 1)[0]
    return dict(json.loads(first_line))


@pytest.fixture(scope="session")
def test_split(ontology: Ontology) -> Split:
    return open_split("test", 0, ontology)


@pytest.fixture(scope="session")
def candidates(test_split: Split) -> Candidates:
    """A large sample with the dataset's mixture."""
    return test_split.sample(20_000)


class ChatServer:
    """An OpenAI-shaped server in this process. reply: conversation -> status, and a text or the body's bytes."""

    def __init__(self) -> None:
        self.reply: Callable[[list[dict[str, str]]], tuple[int, str | bytes]] = lambda messages: (200, "ok")
        self.reply_headers: dict[str, str] = {}
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.keys: list[str | None] = []
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with server._lock:
                    server.requests.append(body)
                    server.paths.append(self.path)
                    server.keys.append(self.headers.get("authorization"))
                    status, said = server.reply(body["messages"])
                if isinstance(said, str):
                    said = json.dumps({"choices": [{"message": {"role": "assistant", "content": said}}]}).encode()
                self.send_response(status)
                for name, value in {"content-length": str(len(said)), **server.reply_headers}.items():
                    self.send_header(name, value)
                with contextlib.suppress(OSError):  # who asked may have gone
                    self.end_headers()
                    self.wfile.write(said)

            def log_message(self, *args: object) -> None:
                """Nobody wants to read it."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


@pytest.fixture
def chat_server() -> Iterator[ChatServer]:
    server = ChatServer()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()
