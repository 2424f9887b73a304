"""The entry of a training pod, run here: data, two gloo ranks with a configuration of their own, evaluation."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from promethios.checkpoint.attempts import read_attempts
from promethios.configs.run_config import load_run_config
from promethios.data.feedback import read_supervised
from promethios.data.folder import HASHES, verify_dataset
from tests.hub.documents import review_record
from tests.hub.servers import HubProcess

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).parents[2] / "images" / "train" / "run_training.sh"
STEPS = 12
TINY = {
    **{"model.num_layers": "2", "model.hidden_size": "48", "model.intermediate_size": "96"},
    **{"model.num_attention_heads": "2", "model.num_key_value_heads": "2", "model.vocab_size": "600"},
    **{"training.max_steps": str(STEPS), "training.batch_size": "2", "training.sequence_length": "512"},
    **{"training.gradient_checkpointing": "true", "training.zero_stage": "3"},
}


def start(*arguments: str, **settings: object) -> subprocess.Popen[str]:
    """Start the script with PROMETHIOS_<setting>s; its stderr is to be read."""
    environment = {f"PROMETHIOS_{name}": str(value) for name, value in settings.items()}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.Popen(
        [SCRIPT, *arguments],
        env={**os.environ, **environment, "PATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str], *, timeout: float = 120) -> int:
    """Wait for the end; returns the exit code."""
    process.communicate(timeout=timeout)
    return process.returncode


def wait_for_line(process: subprocess.Popen[str], beginning: str) -> None:
    assert process.stderr is not None
    said = ""
    while not said.startswith(beginning):
        said = process.stderr.readline()
        assert said, f"it ended without a line {beginning!r}"


def scrape_step(process: subprocess.Popen[str], port: int, step: int) -> dict[str, float]:
    """Scrape until a step is reached; returns every metric without labels."""
    deadline = time.monotonic() + 300
    values: dict[str, float] = {}
    while values.get("promethios_training_step", 0) < step:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"no step {step} in {values}"
        time.sleep(0.02)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
                families = list(text_string_to_metric_families(response.read().decode()))
        except (urllib.error.URLError, ConnectionError):
            continue
        values = {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}
    return values


class Trained(NamedTuple):
    """A run of the script, and what was seen of it."""

    settings: dict[str, object]
    exit_code: int
    stderr: str
    scraped: dict[str, float]
    termination_message: str


@pytest.fixture(scope="module")
def trained(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(load_run_config("nano", TINY).to_mapping()))
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    settings = {"CONFIG": folder / "tiny.yaml", "DATA": small_dataset, "OUTPUT": folder / "model", "NPROC": 2}
    settings |= {"TERMINATION_LOG": folder / "termination-log", "NODE": "gpu-7"}
    process = start("--set", "training.logging_steps=1", METRICS_PORT=port, **settings)
    scraped = scrape_step(process, port, 2)
    stderr = process.communicate(timeout=600)[1]
    return Trained(settings, process.returncode, stderr, scraped, (folder / "termination-log").read_text())


def test_run_training_trains_on_all_ranks_and_evaluates(trained: Trained) -> None:
    assert trained.exit_code == 1, trained.stderr  # so few steps hold no gate
    assert "2 rank(s)" in trained.stderr
    assert (Path(str(trained.settings["OUTPUT"])) / "evaluation_report.html").is_file()


def test_the_end_and_its_reason_stand_in_the_termination_log_and_in_the_ledger(trained: Trained) -> None:
    reason = "trained and evaluated; gates that do not hold: "
    beginning = f"attempt 1, step {STEPS}, newest checkpoint {STEPS}: {reason}"
    assert trained.termination_message.startswith(beginning)
    attempt = read_attempts(Path(str(trained.settings["OUTPUT"])))[0]
    assert attempt.reason is not None and attempt.reason.startswith(reason)
    assert (attempt.exit_code, attempt.node, attempt.first_step, attempt.last_step) == (1, "gpu-7", 0, STEPS)


def test_the_training_was_scraped_while_it_ran(trained: Trained) -> None:
    scraped = trained.scraped
    assert scraped["promethios_training_steps"] == STEPS
    assert scraped["promethios_training_step_seconds_count"] == scraped["promethios_training_step"] >= 2
    assert scraped["promethios_training_tokens_total"] > 0
    assert scraped["promethios_training_tokens_per_second"] > 0
    assert 0 < scraped["promethios_training_goodput_ratio"] < 1
    assert "promethios_training_mfu_ratio" not in scraped  # of a CPU no peak is known


def test_a_stop_in_evaluation_is_retried_and_nothing_is_trained_again(trained: Trained) -> None:
    process = start(**trained.settings)
    wait_for_line(process, "[1/7]")
    process.send_signal(signal.SIGTERM)
    assert end(process) == 143
    assert read_attempts(Path(str(trained.settings["OUTPUT"])))[-1].reason == "stopped by SIGTERM"

    process = start(**trained.settings, REQUIRE_GATES="false")
    stderr = process.communicate(timeout=600)[1]
    assert process.returncode == 0, stderr
    assert "is trained already" in stderr
    assert "gates that do not hold" in stderr


@pytest.fixture
def data_settings(tmp_path: Path) -> Iterator[dict[str, object]]:
    yield {"DATA": tmp_path / "data", "NUM_EXAMPLES": 300, "CONFIG": "nano"}
    assert {path.name for path in tmp_path.iterdir()} <= {"data"}


def test_the_data_step_makes_the_data_once_and_other_nodes_wait_for_it(
    data_settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path(str(data_settings["DATA"]))
    monkeypatch.setenv("PET_NODE_RANK", "1")
    waiting = start("data", **data_settings)
    monkeypatch.delenv("PET_NODE_RANK")
    wait_for_line(waiting, "waiting for ")
    assert end(start("data", **data_settings)) == 0
    assert end(waiting) == 0
    verify_dataset(data)
    assert len((data / "train.jsonl").read_text().splitlines()) == 300
    made = (data / HASHES).stat().st_mtime_ns
    assert end(start("data", **data_settings)) == 0
    assert (data / HASHES).stat().st_mtime_ns == made


def test_two_pods_that_make_the_data_at_once_end_with_one_whole_dataset(
    data_settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = []
    for pod in ("master-0", "worker-0"):
        monkeypatch.setenv("HOSTNAME", pod)
        processes.append(start("data", **data_settings))
    assert [end(process) for process in processes] == [0, 0]
    verify_dataset(Path(str(data_settings["DATA"])))


def test_a_folder_that_holds_other_things_is_left_alone(data_settings: dict[str, object]) -> None:
    kept = Path(str(data_settings["DATA"])) / "thesis.tex"
    kept.parent.mkdir()
    kept.write_text("\\begin{document}")
    for step, exit_code in (("data", 0), ("", 2)):  # a failed init step would be repeated for ever; the rest reports
        process = start(*filter(None, [step]), **data_settings)
        assert "Directory not empty" in process.communicate(timeout=120)[1]
        assert process.returncode == exit_code
    assert [path.name for path in kept.parent.iterdir()] == ["thesis.tex"]


def generators(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children() if is_generator(child)]


def is_generator(process: psutil.Process) -> bool:
    try:
        return "generate" in process.cmdline()
    except psutil.NoSuchProcess:  # ended meanwhile, as another child of the script does
        return False


def test_data_of_another_size_are_not_taken_for_those_asked_for(
    data_settings: dict[str, object], small_dataset: Path
) -> None:
    Path(str(data_settings["DATA"])).symlink_to(small_dataset)
    process = start(**data_settings | {"NUM_EXAMPLES": 400})
    assert "NUM_EXAMPLES=400, but" in process.communicate(timeout=120)[1]
    assert process.returncode == 2


def test_what_reviewers_did_is_asked_for_once_and_other_nodes_wait_for_it(
    small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = HubProcess({"PROMETHIOS_HUB_DATABASE_URL": f"sqlite:///{tmp_path / 'hub.db'}"}, tmp_path / "hub.log")
    settings = {"DATA": small_dataset, "OUTPUT": tmp_path / "runs" / "again", "HUB_URL": hub.url}
    settings["CONFIG"] = tmp_path / "none.yaml"  # so that it ends where training would begin
    feedback = tmp_path / "runs" / "again-feedback"
    hub.start()
    try:
        process = start(**settings)
        assert "no review: there is nothing to learn from yet" in process.communicate(timeout=120)[1]
        assert process.returncode == 2 and not feedback.exists()
        httpx.post(f"{hub.url}/v1/reviews", json={"reviews": [review_record(0)]}).raise_for_status()
        decision = {"version": 1, "action": "edit", "response": "Better."}
        httpx.post(f"{hub.url}/v1/reviews/gov-000000000000/decide", json=decision).raise_for_status()
        monkeypatch.setenv("PET_NODE_RANK", "1")
        waiting = start(**settings)
        wait_for_line(waiting, "waiting for ")
        monkeypatch.delenv("PET_NODE_RANK")
        assert end(start(**settings)) == end(waiting) == 2
    finally:
        hub.stop()
    examples, weights = read_supervised(feedback)
    assert [example.response for example in examples] == ["Better."] and len(weights) == 1
    process = start(**settings)  # without the hub: what is there is kept
    assert "none.yaml" in process.communicate(timeout=120)[1]
    assert [path.name for path in feedback.parent.glob("*feedback*")] == [feedback.name]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_data_step_that_is_stopped_leaves_no_data_and_can_be_repeated(
    how: signal.Signals, data_settings: dict[str, object]
) -> None:
    data = Path(str(data_settings["DATA"]))
    process = start("data", **{**data_settings, "NUM_EXAMPLES": 10_000})
    deadline = time.monotonic() + 60
    while not (children := generators(process)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (process if how is signal.SIGTERM else children[0]).send_signal(how)
    assert end(process) == 128 + how
    assert not data.exists()
    assert end(start("data", **data_settings)) == 0
    verify_dataset(data)
