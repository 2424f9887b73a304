"""An API server in this process that says what a test has put into it, and that goes away when it is told to.

Objects are given back as they were put in; nothing happens to them by itself. Paths, selectors, status codes, chunked
logs with nine-digit times and the whole seconds of `sinceTime` are as a real server and kubelet have them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubernetes import client

from promethios.cluster.connection import Connection

RESOURCES = {
    "api/v1": [
        ("Namespace", "namespaces", False),
        ("Node", "nodes", False),
        ("Pod", "pods", True),
        ("Event", "events", True),
        ("ConfigMap", "configmaps", True),
        ("ResourceQuota", "resourcequotas", True),
        ("PersistentVolumeClaim", "persistentvolumeclaims", True),
        ("ServiceAccount", "serviceaccounts", True),
    ],
    "apis/kubeflow.org/v1": [("PyTorchJob", "pytorchjobs", True)],
    "apis/networking.k8s.io/v1": [("NetworkPolicy", "networkpolicies", True)],
    "apis/storage.k8s.io/v1": [("StorageClass", "storageclasses", False)],
    "apis/authorization.k8s.io/v1": [("SelfSubjectAccessReview", "selfsubjectaccessreviews", False)],
}
TRAINER = {
    "apis/trainer.kubeflow.org/v1alpha1": [
        ("TrainJob", "trainjobs", True),
        ("TrainingRuntime", "trainingruntimes", True),
    ]
}


class ApiServer:
    """objects: by plural and name. forbidden: (verb, plural) that are refused. is_away: connections end unanswered.

    lost: (verb, plural) that is done once more and not answered.
    """

    def __init__(self) -> None:
        self.resources = dict(RESOURCES)
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.forbidden: set[tuple[str, str]] = set()
        self.lost: set[tuple[str, str]] = set()
        self._number_put = 0
        self.log: list[tuple[str, str]] = []
        self.log_has_ended = False
        self.is_away = False
        self.changed = threading.Condition()
        server = self

        class Handler(_Handler):
            state = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self.go_away()
        self._http.shutdown()
        self._http.server_close()

    def connection(self, namespace: str = "promethios") -> Connection:
        settings = client.Configuration()
        settings.host = f"http://127.0.0.1:{self._http.server_port}"
        return Connection(client.ApiClient(settings), "test", namespace)

    def put(self, plural: str, body: dict[str, Any]) -> dict[str, Any]:
        self._number_put += 1
        body.setdefault("metadata", {}).setdefault("uid", f"uid-{self._number_put}")
        body["metadata"].setdefault("creationTimestamp", "2026-11-23T00:00:00Z")
        with self.changed:
            self.objects[plural, body["metadata"]["name"]] = body
            self.changed.notify_all()
        return body

    def write(self, *lines: tuple[str, str]) -> None:
        """Append lines (time, text) to the only log."""
        with self.changed:
            self.log.extend(lines)
            self.changed.notify_all()

    def end_log(self) -> None:
        with self.changed:
            self.log_has_ended = True
            self.changed.notify_all()

    def go_away(self) -> None:
        with self.changed:
            self.is_away = True
            self.changed.notify_all()

    def come_back(self) -> None:
        with self.changed:
            self.is_away = False

    def kind_of(self, plural: str) -> str:
        return next(kind for each in self.resources.values() for kind, name, _ in each if name == plural)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: ApiServer
    answer_is_lost = False

    def do_GET(self) -> None:
        self._answer("get")

    def do_POST(self) -> None:
        self._answer("create")

    def do_PATCH(self) -> None:
        self._answer("patch")

    def do_DELETE(self) -> None:
        self._answer("delete")

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""

    def _answer(self, verb: str) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
        if self.state.is_away:
            self.close_connection = True
            return
        url = urlsplit(self.path)
        path, query = url.path.strip("/"), {key: values[0] for key, values in parse_qs(url.query).items()}
        if path in self.state.resources:
            listed = [{"name": name, "kind": kind, "namespaced": n} for kind, name, n in self.state.resources[path]]
            self._send(200, {"resources": listed})
            return
        roots = [root for root in self.state.resources if path.startswith(f"{root}/")]
        if not roots:
            self._fail(404, "the server could not find the requested resource")
            return
        rest = path.removeprefix(f"{roots[0]}/").split("/")
        if rest[0] == "namespaces" and len(rest) > 2:
            rest = rest[2:]
        if rest[-1] == "log":
            self._stream(query)
        else:
            self._object(verb, rest[0], rest[1] if len(rest) > 1 else None, query, body)

    def _object(self, verb: str, plural: str, name: str | None, query: dict[str, str], body: Any) -> None:
        verb = "list" if verb == "get" and name is None else verb
        self.answer_is_lost = (verb, plural) in self.state.lost
        self.state.lost.discard((verb, plural))
        if (verb, plural) in self.state.forbidden:
            self._fail(403, f"{plural} is forbidden: User cannot {verb} resource")
        elif plural == "selfsubjectaccessreviews":
            wanted = body["spec"]["resourceAttributes"]
            allowed = (wanted["verb"], wanted["resource"]) not in self.state.forbidden
            self._send(201, {**body, "status": {"allowed": allowed}})
        elif verb == "list":
            self._send(200, {"items": list(self._selected(plural, query))})
        elif verb == "create":
            if (plural, body["metadata"]["name"]) in self.state.objects:
                self._fail(409, f"{plural} {body['metadata']['name']} already exists")
            else:
                self._send(201, self.state.put(plural, body))
        elif verb == "patch" and "apply" in self.headers["Content-Type"]:
            self._send(200, self.state.put(plural, body))
        elif (plural, name) not in self.state.objects:
            self._fail(404, f'{plural} "{name}" not found')
        elif verb == "delete":
            self._send(200, self.state.objects.pop((plural, str(name))))
        else:
            found = self.state.objects[plural, str(name)]
            self._send(200, _merge(found, body) if verb == "patch" else found)

    def _selected(self, plural: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        labels = dict(each.split("=") for each in query.get("labelSelector", "").split(",") if each)
        uid = query.get("fieldSelector", "").partition("=")[2]
        for (kind, _), body in sorted(self.state.objects.items()):
            if kind != plural or (uid and body.get("involvedObject", {}).get("uid") != uid):
                continue
            if labels.items() <= body["metadata"].get("labels", {}).items():
                # A list does not repeat what its items are.
                yield {key: value for key, value in body.items() if key not in {"apiVersion", "kind"}}

    def _stream(self, query: dict[str, str]) -> None:
        since = query.get("sinceTime", "")[:19]
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        sent = 0
        while True:
            with self.state.changed:
                while sent == len(self.state.log) and not self._is_over(query):
                    self.state.changed.wait()
                if self.state.is_away:
                    self.wfile.write(b"40\r\n2026-11-23T00:00:59.9")  # a chunk, cut short
                    self.close_connection = True
                    return
                lines, sent = self.state.log[sent:], len(self.state.log)
            for time, text in lines:
                if time[:19] >= since:
                    data = f"{time} {text}\n".encode()
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            with self.state.changed:
                if self._is_over(query) and sent == len(self.state.log):
                    self.wfile.write(b"0\r\n\r\n")
                    return

    def _is_over(self, query: dict[str, str]) -> bool:
        return self.state.is_away or self.state.log_has_ended or query.get("follow") != "true"

    def _send(self, status: int, body: dict[str, Any]) -> None:
        if self.answer_is_lost:
            self.close_connection = True
            return
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _fail(self, status: int, message: str) -> None:
        self._send(status, {"kind": "Status", "status": "Failure", "message": message, "code": status})


def _merge(target: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Merge as RFC 7386 has it."""
    for key, value in change.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            target[key] = _merge(target.get(key, {}), value)
        else:
            target[key] = value
    return target
