"""The image's recipe and the script that builds it; the real build is part of `make e2e`."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import promethios

Build = Callable[..., tuple[int, str, list[str]]]
ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "images" / "train" / "Dockerfile").read_text(encoding="utf-8")
BUILDER = """#!/bin/sh
[ "$1" = info ] && exit {info}
echo "$(basename "$0")" "$@" >> "{log}"
exit {build}
"""


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Run the script with stand-ins for the builders; returns the process and what the builders were told."""
    log = tmp_path / "log"

    def run(builders: dict[str, int], *arguments: str, code: int = 0, **environment: str) -> tuple[int, str, list[str]]:
        programs = tmp_path / "bin"
        programs.mkdir()
        for name in ("bash", "sed", "git", "basename", "dirname"):
            found = subprocess.check_output(["which", name], text=True).strip()
            (programs / name).symlink_to(found)
        for name, info in builders.items():
            (programs / name).write_text(BUILDER.format(info=info, log=log, build=code))
            (programs / name).chmod(0o755)
        done = subprocess.run(
            ["bash", str(ROOT / "scripts" / "build-images.sh"), *arguments],
            env={"PATH": str(programs), "HOME": os.environ["HOME"], **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr, log.read_text().splitlines() if log.exists() else []

    return run


def test_the_first_builder_that_works_is_taken(build: Build) -> None:
    code, output, told = build({"docker": 1, "podman": 0, "buildah": 0})
    assert code == 0, output
    [command] = told
    assert command.startswith(
        f"podman build --file images/train/Dockerfile --tag promethios/train:{promethios.__version__}"
    )
    assert command.endswith(" .")


def test_registry_tag_and_build_arguments_go_on_to_the_build_and_the_push(build: Build) -> None:
    settings = {"REGISTRY": "registry.example/me", "TAG": "rc1", "PUSH": "1"}
    code, output, told = build({"buildah": 0}, "--build-arg", "BASE=python:3.12-slim", **settings)
    assert code == 0, output
    assert "--tag registry.example/me/promethios/train:rc1 " in told[0]
    assert "--build-arg BASE=python:3.12-slim" in told[0]
    assert told[1] == "buildah push registry.example/me/promethios/train:rc1"


def test_without_a_builder_it_says_what_to_install(build: Build) -> None:
    code, output, _ = build({"docker": 1})
    assert code == 2
    assert "no docker, podman or buildah works here" in output


def test_a_build_that_fails_fails_the_script_and_nothing_is_pushed(build: Build) -> None:
    code, _, told = build({"docker": 0}, code=3, PUSH="1")
    assert code == 3
    assert len(told) == 1


def test_base_and_tools_are_pinned_and_the_user_is_not_root() -> None:
    assert re.search(r"^ARG BASE=\S+:\d\S*$", DOCKERFILE, re.MULTILINE)
    assert ":latest" not in DOCKERFILE
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [ours], [theirs] = (re.findall(r"UV_VERSION *:?= *(\S+)", text) for text in (DOCKERFILE, makefile))
    assert ours == theirs
    assert "--require-hashes" in DOCKERFILE
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert f"ARG VERSION={promethios.__version__}" in DOCKERFILE


def test_what_the_build_copies_is_in_the_context_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(?:--\S+ )*(.*) \S+$", DOCKERFILE, re.MULTILINE)
        for source in line.split()
    }
    assert copied == allowed
    assert all((ROOT / path).exists() for path in allowed)
