"""The verbs as they are typed: what stands on stdout and stderr, and the exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from promethios.cli import main
from promethios.cluster import display as display_module
from promethios.cluster.connection import Object
from promethios.cluster.display import Display
from tests.cluster.api_server import ApiServer
from tests.cluster.test_follow import finish, job, pod, second

LINE = "step 22/40  loss 5.0000  language 3.9000  decision 1.1000  lr 1.00e-03  12,345 tokens/s  ETA 80 s"


@pytest.fixture
def cluster(server: ApiServer, kubectl: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ApiServer:
    """A server that KUBECONFIG leads to and in which the rehearsal can run."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server.connection().api.configuration.host}}],
        "users": [{"name": "u", "user": {}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    # The client reads the variable once, when it is imported.
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    server.put("storageclasses", {"metadata": {"name": "fast", "annotations": default}})
    room = {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi"}
    server.put("nodes", {"metadata": {"name": "cpu-0"}, "status": {"allocatable": room}})
    return server


def test_a_dry_run_prints_the_objects_and_the_plan_and_needs_no_cluster(
    kubectl: None, rehearsal: list[Object], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    assert main(["submit", "--overlay", "cpu-rehearsal", "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert sorted(yaml.safe_load_all(out), key=str) == sorted(rehearsal, key=str)
    assert err.startswith("nano on 2xcpu\n")


def test_what_plan_refuses_is_not_submitted(cluster: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "--overlay", "cpu-rehearsal", "--set", "training.save_steps=1000"]) == 2
    assert "error: training.save_steps is a checkpoint every 1000 of 40 steps" in capsys.readouterr().err
    assert ("pytorchjobs", "promethios-training") not in cluster.objects


def test_what_the_cluster_cannot_run_is_not_submitted(cluster: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    del cluster.objects["nodes", "cpu-0"]
    del cluster.objects["storageclasses", "fast"]
    assert main(["submit", "--overlay", "cpu-rehearsal"]) == 2
    err = capsys.readouterr().err
    assert "context here, namespace promethios" in err
    assert err.count("\nerror: ") == 2
    assert ("configmaps", "promethios-training") not in cluster.objects


def test_a_detached_submission_says_how_to_follow_it(cluster: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["submit", "--overlay", "cpu-rehearsal", "--name", "gov", "--namespace", "team", "--detach"]
    assert main(arguments) == 0
    assert "promethios logs gov --follow --namespace team\n" in capsys.readouterr().err
    assert cluster.objects["pytorchjobs", "gov"]["metadata"]["namespace"] == "team"


@pytest.mark.parametrize(("state", "exit_code"), [("Succeeded", 0), ("Failed", 3)])
def test_a_submission_is_followed_and_ends_as_the_training_does(
    cluster: ApiServer, capsys: pytest.CaptureFixture[str], state: str, exit_code: int
) -> None:
    def operator() -> None:
        with cluster.changed:
            cluster.changed.wait_for(lambda: ("pytorchjobs", "gov") in cluster.objects, timeout=60)
        cluster.write((second(1), LINE))
        finish(cluster, state, exit_code)

    threading.Thread(target=operator, daemon=True).start()
    assert main(["submit", "--overlay", "cpu-rehearsal", "--name", "gov"]) == exit_code
    out, err = capsys.readouterr()
    assert out == LINE + "\n"
    assert f"PyTorchJob gov: {state.lower()}" in err


def test_logs_prints_what_there_is(cluster: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.put("pytorchjobs", job("Running"))
    cluster.put("pods", pod({"running": {}}))
    cluster.write((second(1), "one"), (second(2), "two"))
    assert main(["logs", "gov"]) == 0
    assert capsys.readouterr().out == "one\ntwo\n"


def test_ctrl_c_leaves_the_training_and_says_how_to_come_back(
    cluster: ApiServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(display_module, "follow", interrupted)
    cluster.put("pytorchjobs", job("Running"))
    assert main(["logs", "gov", "--follow"]) == 130
    assert "the training goes on; come back: promethios logs gov --follow\n" in capsys.readouterr().err
    assert ("pytorchjobs", "gov") in cluster.objects


def test_status_is_a_table_and_with_a_name_also_the_reasons(
    cluster: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status"]) == 0
    assert capsys.readouterr().out == "no trainings\n"
    cluster.put("pytorchjobs", job("Running"))
    cluster.put("pods", pod({"running": {}}))
    cluster.write((second(1), LINE))
    assert main(["status", "gov"]) == 0
    head, row, *rest = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "STATE", "ATTEMPT", "STEP", "LOSS", "TOKENS/S", "ETA", "CHECKPOINT", "AGE"]
    assert row.split()[:6] == ["gov", "Running", "-", "22/40", "5.0000", "12,345"]
    assert rest == ["Running     True", "pod gov-master-0: Running on gpu-7"]


def test_status_as_json_has_every_field(cluster: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.put("pytorchjobs", job("Failed"))
    words = "attempt 5, step 17, newest checkpoint 10: no progress"
    cluster.put("pods", pod({"terminated": {"exitCode": 3, "message": words}}, "Failed"))
    assert main(["status", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)
    assert found["state"] == "Failed"
    assert found["reason"] == words
    assert (found["attempt"], found["checkpoint_step"], found["exit_code"], found["progress"]) == (5, 10, 3, None)
    assert found["conditions"] == [{"type": "Failed", "status": "True"}]


def test_cancel_and_resume_say_what_comes_next(cluster: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.put("pytorchjobs", job("Running") | {"spec": {"runPolicy": {}}})
    assert main(["cancel", "gov"]) == 0
    assert "Go on: promethios resume gov\n" in capsys.readouterr().err
    assert main(["resume", "gov"]) == 0
    assert "promethios logs gov --follow\n" in capsys.readouterr().err
    assert cluster.objects["pytorchjobs", "gov"]["spec"]["runPolicy"]["suspend"] is False


def test_no_cluster_at_all_is_the_users_to_mend(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "absent"))
    assert main(["status"]) == 2
    assert "set KUBECONFIG" in capsys.readouterr().err


def test_an_unknown_context_is_the_users_to_mend(cluster: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--context", "there"]) == 2
    assert "there" in capsys.readouterr().err


def test_on_a_terminal_progress_is_a_bar_and_other_lines_stay(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    display = Display()
    display.line("resuming")
    display.line(LINE)
    display.line("model written")
    display.close()
    out, err = capsys.readouterr()
    assert out.splitlines() == ["resuming", "model written"]
    assert "22/40" in err
    assert "loss 5.000, 12,345 tokens/s, 01:20 to go" in err


def run_without(*packages: str, verb: str) -> subprocess.CompletedProcess[str]:
    code = f"""
import sys
sys.modules.update(dict.fromkeys({packages}))
from promethios.cli import main
sys.exit(main([{verb!r}, "--help"]))
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("verb", ["submit", "status", "logs", "cancel", "resume"])
def test_a_verb_needs_no_torch(verb: str) -> None:
    result = run_without("torch", "transformers", "deepspeed", verb=verb)
    assert result.returncode == 0, result.stderr


def test_without_the_extra_it_is_named() -> None:
    result = run_without("kubernetes", "kubeflow", "urllib3", verb="submit")
    assert result.returncode == 2
    assert "install promethios with its extra cluster" in result.stderr
