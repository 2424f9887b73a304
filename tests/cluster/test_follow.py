"""Following shows every line once, whatever happens to the connection, and ends with the training's exit code."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promethios.cluster.container_log import Position
from promethios.cluster.follow import follow
from promethios.errors import ClusterError
from tests.cluster.api_server import ApiServer

LABELS = {"app.kubernetes.io/name": "promethios", "app.kubernetes.io/component": "training"}
POD_LABELS = {"training.kubeflow.org/job-name": "gov"}


class Seen:
    """What was shown; `wait` returns when a test's condition holds."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.notes: list[str] = []
        self._changed = threading.Condition()

    def line(self, text: str) -> None:
        with self._changed:
            self.lines.append(text)
            self._changed.notify_all()

    def note(self, text: str) -> None:
        with self._changed:
            self.notes.append(text)
            self._changed.notify_all()

    def wait(self, condition: Callable[[], Any]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, timeout=30), (self.lines, self.notes)


def job(state: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "gov", "labels": LABELS},
        "status": {"conditions": [{"type": state, "status": "True"}]},
    }


def pod(state: dict[str, Any], phase: str = "Running", uid: str = "pod-1") -> dict[str, Any]:
    statuses = [{"name": "pytorch", "restartCount": 0, "state": state}]
    return {
        "metadata": {"name": "gov-master-0", "uid": uid, "labels": POD_LABELS},
        "spec": {"nodeName": "gpu-7"},
        "status": {"phase": phase, "containerStatuses": statuses},
    }


def second(number: float) -> str:
    return f"2026-11-23T01:00:{number:012.9f}Z"


class Following:
    """A follower in a thread of its own."""

    def __init__(self, server: ApiServer) -> None:
        self.seen = Seen()
        self.result: int | Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(server,), daemon=True)
        self._thread.start()

    def _run(self, server: ApiServer) -> None:
        try:
            self.result = follow(server.connection(), "gov", self.seen, poll_seconds=0.02)
        except ClusterError as error:
            self.result = error

    def end(self) -> int | Exception | None:
        self._thread.join(timeout=30)
        assert not self._thread.is_alive(), (self.seen.lines, self.seen.notes)
        return self.result


def finish(server: ApiServer, state: str, exit_code: int) -> None:
    server.end_log()
    server.put("pods", pod({"terminated": {"exitCode": exit_code}}, "Failed" if exit_code else "Succeeded"))
    server.put("pytorchjobs", job(state))


@pytest.mark.parametrize("losses", [1, 3])
def test_lost_connections_neither_repeat_nor_lose_a_line(server: ApiServer, losses: int) -> None:
    server.put("pytorchjobs", job("Running"))
    server.put("pods", pod({"running": {}}))
    server.write((second(1), "a"), (second(1), "b"), (second(1.5), "a"))
    following = Following(server)
    expected = ["a", "b", "a"]
    for loss in range(losses):
        following.seen.wait(lambda expected=tuple(expected): tuple(following.seen.lines) == expected)
        server.go_away()
        following.seen.wait(lambda loss=loss: sum("no answer" in note for note in following.seen.notes) == loss + 1)
        server.write((second(1.5 + loss), "same second"), (second(2.5 + loss), f"after {loss}"))
        expected += ["same second", f"after {loss}"]
        server.come_back()
        following.seen.wait(lambda loss=loss: following.seen.notes.count("connected again") == loss + 1)
    following.seen.wait(lambda: following.seen.lines == expected)
    finish(server, "Succeeded", 0)
    assert following.end() == 0
    assert following.seen.lines == expected


def test_the_last_lines_of_a_training_are_shown_before_it_ends(server: ApiServer) -> None:
    server.put("pytorchjobs", job("Running"))
    server.put("pods", pod({"waiting": {"reason": "ContainerCreating"}}, "Pending"))
    following = Following(server)
    following.seen.wait(lambda: "pod gov-master-0: pending on gpu-7" in following.seen.notes)
    server.write(*((second(number / 100), f"line {number}") for number in range(500)))
    finish(server, "Failed", 3)
    assert following.end() == 3
    assert following.seen.lines == [f"line {number}" for number in range(500)]


def test_a_pod_that_replaces_a_failed_one_is_shown_from_its_first_line(server: ApiServer) -> None:
    server.put("pytorchjobs", job("Running"))
    server.put("pods", pod({"running": {}}))
    server.write((second(1), "first attempt"))
    following = Following(server)
    following.seen.wait(lambda: following.seen.lines == ["first attempt"])
    server.put("pytorchjobs", job("Restarting"))
    server.log.clear()
    server.write((second(0), "second attempt"))
    server.put("pods", pod({"running": {}}, uid="pod-2"))
    following.seen.wait(lambda: "second attempt" in following.seen.lines)
    server.put("pytorchjobs", job("Running"))
    following.seen.wait(lambda: "PyTorchJob gov: running" in following.seen.notes[2:])
    server.end_log()
    server.put("pytorchjobs", job("Succeeded"))
    server.put("pods", pod({"terminated": {"exitCode": 0}}, "Succeeded", "pod-2"))
    assert following.end() == 0
    assert following.seen.lines == ["first attempt", "second attempt"]


def test_why_a_pod_waits_and_what_the_cluster_warns_of_is_said_once(server: ApiServer) -> None:
    server.put("pytorchjobs", job("Created"))
    waiting = pod({"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}}, "Pending")
    server.put("pods", waiting)
    event = {"metadata": {"name": "e"}, "involvedObject": {"uid": "pod-1"}, "type": "Warning", "reason": "Failed"}
    server.put("events", {**event, "message": "Failed to pull image"})
    following = Following(server)
    following.seen.wait(lambda: any("ImagePullBackOff: no such tag" in note for note in following.seen.notes))
    following.seen.wait(lambda: "gov-master-0: Failed: Failed to pull image" in following.seen.notes)
    finish(server, "Failed", 1)
    assert following.end() == 1
    assert sum("Failed to pull image" in note for note in following.seen.notes) == 1


def test_following_ends_when_the_job_is_deleted(server: ApiServer) -> None:
    server.put("pytorchjobs", job("Running"))
    following = Following(server)
    following.seen.wait(lambda: "PyTorchJob gov: running" in following.seen.notes)
    del server.objects["pytorchjobs", "gov"]
    error = following.end()
    assert isinstance(error, ClusterError)
    assert "gov is gone" in str(error)


def test_a_cancelled_job_is_followed_until_its_pods_have_saved(server: ApiServer) -> None:
    cancelled = job("Suspended")
    cancelled["metadata"]["annotations"] = {"promethios/cancelled": "2026-11-23T01:00:00Z"}
    server.put("pytorchjobs", cancelled)
    server.put("pods", pod({"running": {}}))
    server.write((second(1), "saving"))
    following = Following(server)
    following.seen.wait(lambda: following.seen.lines == ["saving"])
    assert following.result is None
    server.end_log()
    del server.objects["pods", "gov-master-0"]
    assert following.end() == 143


def test_lines_of_several_pods_say_which_pod_they_are_of(server: ApiServer) -> None:
    server.put("pytorchjobs", job("Running"))
    server.put("pods", pod({"running": {}}))
    worker = pod({"running": {}}, uid="pod-2")
    worker["metadata"]["name"] = "gov-worker-0"
    server.put("pods", worker)
    server.write((second(1), "hello"))
    following = Following(server)
    expected = ["[gov-master-0] hello", "[gov-worker-0] hello"]
    following.seen.wait(lambda: sorted(following.seen.lines) == expected)
    finish(server, "Succeeded", 0)
    worker["status"]["containerStatuses"][0]["state"] = {"terminated": {"exitCode": 0}}
    assert following.end() == 0
    assert sorted(following.seen.lines) == expected


@given(
    st.lists(st.integers(0, 30), max_size=20),  # tenths of seconds
    st.lists(st.integers(0, 20), max_size=6),  # how far each read gets before the connection is lost
)
def test_every_line_is_new_once_in_reads_that_begin_at_a_whole_second(tenths: list[int], reads: list[int]) -> None:
    log = [(second(tenth / 10), index) for index, tenth in enumerate(sorted(tenths))]
    position = Position()
    shown = []
    for length in [*reads, len(log)]:
        position.begin_read()
        from_second = [line for line in log if line[0][:19] >= position.time[:19]]
        shown += [index for time, index in from_second[:length] if position.is_new(time)]
    assert shown == list(range(len(log)))
