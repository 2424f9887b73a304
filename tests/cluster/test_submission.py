"""What is created is the overlay as it was rendered, but for what was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from promethios.cluster.connection import Object
from promethios.cluster.overlay import find_overlay, render
from promethios.cluster.submission import containers, prepare
from promethios.errors import ClusterError


def job_of(objects: list[Object]) -> Object:
    return next(each for each in objects if each["kind"] == "PyTorchJob")


def test_without_wishes_nothing_is_changed(rehearsal: list[Object]) -> None:
    submission = prepare(rehearsal, name=None, overrides=[], api="pytorchjob")
    assert sorted(submission.objects, key=str) == sorted(rehearsal, key=str)
    assert submission.objects[-1]["kind"] == "PyTorchJob"


def test_a_name_is_the_jobs_and_that_of_its_settings(rehearsal: list[Object]) -> None:
    submission = prepare(rehearsal, name="try-1", overrides=[], api="pytorchjob")
    names = {(each["kind"], each["metadata"]["name"]) for each in submission.objects}
    assert {("PyTorchJob", "try-1"), ("ConfigMap", "try-1"), ("PersistentVolumeClaim", "promethios-training")} <= names
    assert ("ConfigMap", "promethios-training") not in names
    assert submission.settings["PROMETHIOS_CONFIG"] == "nano"


def test_overrides_follow_the_arguments_that_are_there(rehearsal: list[Object]) -> None:
    [before] = (container["args"] for container in containers(job_of(rehearsal)))
    submission = prepare(rehearsal, name=None, overrides=["training.max_steps=3", "training.seed=7"], api="pytorchjob")
    [after] = (container["args"] for container in containers(submission.pytorch_job))
    assert after == [*before, "--set", "training.max_steps=3", "--set", "training.seed=7"]


@pytest.mark.parametrize("name", ["8b", "a.b", "A", "a-", "x" * 64, ""])
def test_a_name_that_cannot_be_a_job_is_refused(rehearsal: list[Object], name: str) -> None:
    with pytest.raises(ClusterError, match="--name"):
        prepare(rehearsal, name=name, overrides=[], api="pytorchjob")


def test_an_overlay_without_a_job_is_refused(rehearsal: list[Object]) -> None:
    others = [each for each in rehearsal if each["kind"] != "PyTorchJob"]
    with pytest.raises(ClusterError, match="0 objects of kind PyTorchJob"):
        prepare(others, name=None, overrides=[], api="pytorchjob")


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("registry.example.org:5000/team/train:1.2", "registry.example.org:5000/team/train:1.2"),
        ("team/train@sha256:" + "0" * 64, "team/train@sha256:" + "0" * 64),
    ],
)
def test_image_and_namespace_are_put_in(kubectl: None, image: str, expected: str) -> None:
    objects = render(find_overlay("cpu-rehearsal"), "elsewhere", image)
    [container] = containers(job_of(objects))
    assert container["image"] == expected
    assert {each["metadata"].get("namespace", each["metadata"]["name"]) for each in objects} == {"elsewhere"}


@pytest.mark.parametrize("image", ["train", "registry.example.org:5000/train", ":1", "train:"])
def test_an_image_without_a_tag_is_refused(kubectl: None, image: str) -> None:
    with pytest.raises(ClusterError, match="NAME:TAG"):
        render(find_overlay("cpu-rehearsal"), "promethios", image)


def test_an_unknown_overlay_is_answered_with_the_nearest() -> None:
    with pytest.raises(ClusterError, match=r"8xa100-40g: .*did you mean '8xa100-40gb'"):
        find_overlay("8xa100-40g")


def test_what_kubectl_cannot_render_is_told_in_its_words(kubectl: None, tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [missing.yaml]")
    with pytest.raises(ClusterError, match=r"missing\.yaml"):
        render(find_overlay(str(tmp_path)), "promethios", None)


def test_without_kubectl_one_is_told_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="kubectl is not on PATH"):
        render(find_overlay("cpu-rehearsal"), "promethios", None)
