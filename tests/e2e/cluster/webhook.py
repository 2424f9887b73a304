"""A receiver of webhooks on the node, where pods reach it: what it is told stands in a file, a line each."""

from __future__ import annotations

import json
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.e2e.cluster.control_plane import Component, Place

PORT = 9095
ROOT = Path(__file__).parents[3]


def component(place: Place) -> Component:
    command = [sys.executable, "-m", __name__, place.address, str(_file(place))]
    return Component(command, {"PYTHONPATH": str(ROOT)})


def url(place: Place) -> str:
    return f"http://{place.address}:{PORT}/"


def told(place: Place) -> Counter[str]:
    """How often it was told of each review, by the review's id."""
    lines = _file(place).read_text().splitlines() if _file(place).exists() else []
    return Counter(json.loads(line)["data"]["id"] for line in lines)


def _file(place: Place) -> Path:
    return place.state / "webhook.jsonl"


class _Receiver(BaseHTTPRequestHandler):
    file: Path

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.file.open("a") as file:
            file.write(json.dumps(body) + "\n")
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()


if __name__ == "__main__":
    _Receiver.file = Path(sys.argv[2])
    ThreadingHTTPServer((sys.argv[1], PORT), _Receiver).serve_forever()
