"""Follow a job to its end: its pods, events and logs, across lost connections.

State is asked for every other second, which a lost connection cannot confuse as it does a watch; logs are streamed,
because a failed pod is replaced at once and its last lines with it.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import Final, Protocol

from promethios.cluster.connection import Connection, ConnectionLost, Object
from promethios.cluster.container_log import ContainerLog
from promethios.cluster.jobs import Job, find_job
from promethios.cluster.pods import container_statuses, pods_of, why_waiting
from promethios.cluster.report import exit_code_of
from promethios.errors import ClusterError

POLL_SECONDS: Final = 2.0
LAST_LINES_SECONDS: Final = 30.0
"""For the rest of the logs, once the job has ended."""


class View(Protocol):
    """Where to show what happens."""

    def line(self, text: str) -> None:
        """Show a line of the log."""

    def note(self, text: str) -> None:
        """Show something that the log does not say."""


def follow(connection: Connection, name: str, view: View, *, poll_seconds: float = POLL_SECONDS) -> int:
    """Show a job until it ends; returns the exit code of its training. Raises ClusterError when the job is deleted."""
    return _Follower(connection, name, view, poll_seconds).run()


class _Follower:
    def __init__(self, connection: Connection, name: str, view: View, poll_seconds: float) -> None:
        self.connection, self.name, self.view, self.poll_seconds = connection, name, view, poll_seconds
        self.lines: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()  # pod, line
        self.logs: dict[tuple[str, str, int], ContainerLog] = {}
        self.said: dict[str, str] = {}
        self.events: set[str] = set()
        self.pods: set[str] = set()

    def run(self) -> int:
        is_lost = False
        while True:
            try:
                job, pods = self._look()
            except ConnectionLost as error:
                if not is_lost:
                    self.view.note(f"{error}; trying until it answers, Ctrl-C ends this and not the training")
                is_lost = True
            else:
                if is_lost:
                    self.view.note("connected again")
                is_lost = False
                if job.has_ended and not (job.state == "Cancelled" and pods):  # they are still saving
                    self._finish(pods)
                    return exit_code_of(job, pods)
            self._show_lines(self.poll_seconds)

    def _look(self) -> tuple[Job, list[Object]]:
        job = find_job(self.connection, self.name)
        if job is None:
            raise ClusterError(f"{self.connection.where}: the training {self.name} is gone; it was deleted")
        pods = pods_of(self.connection, self.name)
        self._say("job", f"{job.body['kind']} {self.name}: {job.state.lower()}")
        for pod in pods:
            self._say_pod(pod)
            self._read_logs(pod)
        for each in (job.body, *pods):
            self._say_events(each)
        return job, pods

    def _say(self, what: str, text: str) -> None:
        """Show a text unless it was the last one about the same thing."""
        if self.said.get(what) != text:
            self.said[what] = text
            self.view.note(text)

    def _say_pod(self, pod: Object) -> None:
        name, status = pod["metadata"]["name"], pod.get("status", {})
        node = pod.get("spec", {}).get("nodeName")
        words = f"pod {name}: {status.get('phase', 'Pending').lower()}" + (f" on {node}" if node else "")
        if reason := status.get("reason") or why_waiting(pod):
            words += f": {reason}"
        self._say(pod["metadata"]["uid"], words)

    def _read_logs(self, pod: Object) -> None:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        self.pods.add(name)
        for status in container_statuses(pod):
            if "waiting" in status["state"]:
                continue
            key = (uid, status["name"], status["restartCount"])
            if key not in self.logs:
                self.logs[key] = ContainerLog(self.connection, name, status["name"], self._show_later(name))
            self.logs[key].read(has_ended="terminated" in status["state"])

    def _show_later(self, pod: str) -> Callable[[str], None]:
        return lambda line: self.lines.put((pod, line))

    def _show(self, pod: str, line: str) -> None:
        self.view.line(f"[{pod}] {line}" if len(self.pods) > 1 else line)

    def _say_events(self, body: Object) -> None:
        for event in self.connection.items("v1", "Event", fields=f"involvedObject.uid={body['metadata']['uid']}"):
            uid = event["metadata"]["uid"]
            if uid not in self.events and event.get("type") == "Warning":
                self.view.note(f"{body['metadata']['name']}: {event.get('reason')}: {event.get('message', '').strip()}")
            self.events.add(uid)

    def _show_lines(self, seconds: float) -> None:
        """Show lines as they come, for so long."""
        limit = time.monotonic() + seconds
        while (left := limit - time.monotonic()) > 0:
            try:
                self._show(*self.lines.get(timeout=left))
            except queue.Empty:
                return

    def _finish(self, pods: list[Object]) -> None:
        """Show the rest of the logs of the pods that are still there."""
        limit = time.monotonic() + LAST_LINES_SECONDS
        for pod in pods:
            self._read_logs(pod)
        while any(log.is_reading or not log.is_complete for log in self._of(pods)) and time.monotonic() < limit:
            self._show_lines(0.2)
            for pod in pods:
                self._read_logs(pod)
        while not self.lines.empty():
            self._show(*self.lines.get())

    def _of(self, pods: list[Object]) -> list[ContainerLog]:
        uids = {pod["metadata"]["uid"] for pod in pods}
        return [log for (uid, _, _), log in self.logs.items() if uid in uids]
